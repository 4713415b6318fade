"""`make costs`: what a deployment costs a month, from list prices.

    python -m local.tools.costs [--agents 1000] [--commands 1000000]

Prices are AWS's list prices of us-east-1 in USD, without free tiers and discounts.  What a function takes is an assumption, and
says so: nothing here was measured on AWS.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

PRICES_AS_OF = "2026-11"

MILLION = 1e6
HOURS = 730.0
MINUTES = HOURS * 60
SECONDS = MINUTES * 60

# ── List prices ──────────────────────────────────────────────────────────────────────────────────────────────────────────
SOCKET_MESSAGE = 1.00 / MILLION  # up to 32 KB each, either way, @connections too
SOCKET_MINUTE = 0.25 / MILLION
HTTP_REQUEST = 1.00 / MILLION
INVOCATION = 0.20 / MILLION
GB_SECOND = 0.0000133334  # arm64
ACU_HOUR = 0.12
DATABASE_GB = 0.10
DATABASE_IO = 0.20 / MILLION
PROXY_ACU_HOUR = 0.015  # eight units at least
SECRET = 0.40
ALARM = 0.10
METRIC = 0.30
DASHBOARD = 3.00
LOG_GB = 0.50
TRACE = 5.00 / MILLION
NAT_HOUR = 0.045
ENDPOINT_HOUR = 0.01  # an interface endpoint, in one zone
CLOUDFRONT_REQUEST = 1.00 / MILLION  # per HTTPS request; a WebSocket is one

# ── What this service has, and what it is taken to need ──────────────────────────────────────────────────────────────────
MEMORY_GB = 0.5
HEARTBEAT_SECONDS = 30.0  # both real agents
SOCKET_SECONDS = 7200.0  # the gateway cuts a socket after two hours
CONNECT_FUNCTIONS = 4  # authorizer, connect, flush, disconnect
HEARTBEAT_MS = 15.0
FUNCTION_MS = 40.0
SWEEP_SECONDS, SWEEP_GB = 0.5, 1.0
LOG_BYTES = 400.0  # an invocation: START, END, REPORT, and now and then a line
TRACED = 0.05
ALARMS, METRICS, SECRETS = 42, 21, 3
IO_PER_COMMAND = 12.0  # inserts and updates of the command and its history, and their part of the log
STORED_GB = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A line of the bill, in USD a month."""

    what: str
    usd: float


def invocations(count: float, milliseconds: float, gigabytes: float = MEMORY_GB) -> float:
    """Return what so many invocations cost: requests, time, logs and traces."""
    time = count * milliseconds / 1000 * gigabytes * GB_SECOND
    return count * INVOCATION + time + count * LOG_BYTES / 1e9 * LOG_GB + count * TRACED * TRACE


def standing(*, min_acu: float = 0.5, replica: bool = False, proxy: bool = False) -> list[Item]:
    """Return what stands still and costs."""
    instances, on = (2, "two instances") if replica else (1, "one instance")
    items = [
        Item(what=f"Aurora, {min_acu:g} ACU on {on}", usd=min_acu * instances * ACU_HOUR * HOURS),
        Item(what=f"Storage, {STORED_GB:g} GB", usd=STORED_GB * DATABASE_GB),
        Item(
            what=f"{ALARMS} alarms, {METRICS} metrics, a dashboard", usd=ALARMS * ALARM + METRICS * METRIC + DASHBOARD
        ),
        Item(what=f"{SECRETS} secrets", usd=SECRETS * SECRET),
        Item(
            what="The sweep and the audit",
            usd=invocations(MINUTES, SWEEP_SECONDS * 1000, SWEEP_GB) + invocations(MINUTES / 5, SWEEP_SECONDS * 1000),
        ),
        Item(what="The way out, over IPv6", usd=0.0),
    ]
    if proxy:
        items.append(Item(what="RDS Proxy", usd=max(8.0, min_acu * instances) * PROXY_ACU_HOUR * HOURS))
    return items


def agent_month(*, gateway_heartbeats: bool = False) -> list[Item]:
    """Return what an agent costs that is connected all month and receives nothing."""
    beats, sockets = SECONDS / HEARTBEAT_SECONDS, SECONDS / SOCKET_SECONDS
    return [
        Item(what="Being connected", usd=MINUTES * SOCKET_MINUTE),
        Item(what="Heartbeats, as messages", usd=beats * SOCKET_MESSAGE),
        Item(
            what="Heartbeats, as invocations",
            usd=0.0 if gateway_heartbeats else invocations(beats, HEARTBEAT_MS) + beats * DATABASE_IO,
        ),
        Item(
            what="Reconnecting every two hours",
            usd=sockets * (HTTP_REQUEST + CLOUDFRONT_REQUEST)
            + invocations(sockets * (CONNECT_FUNCTIONS + 1), FUNCTION_MS),
        ),
    ]


def million_commands() -> list[Item]:
    """Return what a million commands cost that are submitted one by one, acknowledged and completed."""
    n = MILLION
    return [
        Item(
            what="Submitting: a request, its authorizer, commands",
            usd=n * HTTP_REQUEST + invocations(2 * n, FUNCTION_MS),
        ),
        Item(what="Delivering: a post to @connections", usd=n * SOCKET_MESSAGE),
        Item(what="Ack and result: two messages", usd=2 * n * SOCKET_MESSAGE + invocations(2 * n, FUNCTION_MS)),
        Item(what="The database's I/O", usd=n * IO_PER_COMMAND * DATABASE_IO),
    ]


def alternatives() -> list[Item]:
    """Return what other ways out of the network would cost while they stand."""
    return [
        Item(what="An egress-only gateway for IPv6 (built)", usd=0.0),
        Item(what="NAT gateways in two zones", usd=2 * NAT_HOUR * HOURS),
        Item(
            what="Two interface endpoints in two zones, which do not reach @connections",
            usd=4 * ENDPOINT_HOUR * HOURS,
        ),
    ]


def total(items: Iterable[Item]) -> float:
    """Add up."""
    return sum(item.usd for item in items)


def main() -> None:
    """Print the bill."""
    parser = argparse.ArgumentParser(description="what a deployment costs a month, from list prices")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--commands", type=int, default=1_000_000, help="a month")
    given = parser.parse_args()
    parts = (
        ("An idle stack", standing(), 1.0),
        (f"{given.agents:,} agents", agent_month(), float(given.agents)),
        (f"{given.commands:,} commands", million_commands(), given.commands / MILLION),
    )
    table = Table("USD a month", "", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title, items, times in parts:
        table.add_row(f"[bold]{title}[/]", f"[bold]{times * total(items):>12,.2f}[/]")
        for item in items:
            table.add_row(f"  {item.what}", f"{times * item.usd:>12,.2f}")
    table.add_row("[bold]All[/]", f"[bold]{sum(times * total(items) for _, items, times in parts):>12,.2f}[/]")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"\nList prices of us-east-1 as of {PRICES_AS_OF}, without free tiers; see docs/reference/figures.md."
    )


if __name__ == "__main__":
    main()
