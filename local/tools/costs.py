"""`make costs`: what a deployment costs a month, from list prices.

    python -m local.tools.costs [--agents 1000] [--commands 1000000]

Prices are AWS's list prices of us-east-1 in USD, without free tiers and discounts.  The times of functions are
assumptions: nothing here was measured on AWS.
"""

import argparse
from collections.abc import Iterable
from typing import NamedTuple

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
BACKUP_GB = 0.021  # beyond the size of the database
PROXY_ACU_HOUR = 0.015  # eight units at least
SECRET = 0.40
ALARM = 0.10
METRIC = 0.30
DASHBOARD = 3.00
LOG_GB = 0.50
NAT_HOUR = 0.045
ENDPOINT_HOUR = 0.01  # an interface endpoint, in one zone
CLOUDFRONT_REQUEST = 1.00 / MILLION  # per HTTPS request; a WebSocket is one
CLOUDFRONT_GB = 0.085  # out to viewers; what comes in is billed with 0.02
CLOUDFRONT_GB_IN = 0.02

# ── The parts of this service, and the assumed load ──────────────────────────────────────────────────────────────────────
MEMORY_GB = 0.5
HEARTBEAT_SECONDS = 30.0  # both real agents
SOCKET_SECONDS = 7200.0  # the gateway cuts a socket after two hours
CONNECT_FUNCTIONS = 4  # authorizer, connect, flush, disconnect
HEARTBEAT_MS = 15.0
FUNCTION_MS = 40.0
SWEEP_SECONDS, SWEEP_GB = 0.5, 1.0
LOG_BYTES = 60.0  # an invocation: a line now and then; START, END and REPORT are switched off
ACCESS_LOG_BYTES = 300.0  # a request to the HTTP API
WEBHOOKS_SECONDS, WEBHOOKS_GB = 0.05, 0.25  # a run of deliver-webhooks that finds nothing
COLD = 0.005  # of the invocations start an environment; its start is billed
INIT_MS = 700.0
BEAT_BYTES, BEAT_BYTES_BACK = 150.0, 10.0  # a heartbeat with its frame, and what TCP and TLS say back
ALARMS, METRICS, SECRETS = 65, 45, 4  # an alarm on two metrics is billed as two
IO_PER_COMMAND = 12.0  # inserts and updates of the command and its history, and their part of the log
STORED_GB = 10.0
BACKED_UP_GB = 20.0  # what changed within a week, beyond the size of the database


class Item(NamedTuple):
    """A line of the bill, in USD a month."""

    what: str
    usd: float


def invocations(count: float, milliseconds: float, gigabytes: float = MEMORY_GB) -> float:
    """Return the cost of a number of invocations: requests, time with the starts of environments, logs."""
    time = count * (milliseconds + COLD * INIT_MS) / 1000 * gigabytes * GB_SECOND
    return count * INVOCATION + time + count * LOG_BYTES / 1e9 * LOG_GB


def standing(*, min_acu: float = 0.5, replica: bool = False, proxy: bool = False) -> list[Item]:
    """Return the fixed costs of a stack without load."""
    instances, on = (2, "two instances") if replica else (1, "one instance")
    items = [
        Item(f"Aurora, {min_acu:g} ACU on {on}", min_acu * instances * ACU_HOUR * HOURS),
        Item(f"Storage, {STORED_GB:g} GB", STORED_GB * DATABASE_GB),
        Item(f"Backups, {BACKED_UP_GB:g} GB", BACKED_UP_GB * BACKUP_GB),
        Item(
            f"Alarms on {ALARMS} metrics, {METRICS} metrics, a dashboard", ALARMS * ALARM + METRICS * METRIC + DASHBOARD
        ),
        Item(f"{SECRETS} secrets", SECRETS * SECRET),
        Item(
            "The sweep, the loss check and the webhooks' run",
            invocations(MINUTES, SWEEP_SECONDS * 1000, SWEEP_GB)
            + invocations(MINUTES / 5, SWEEP_SECONDS * 1000)
            + invocations(MINUTES, WEBHOOKS_SECONDS * 1000, WEBHOOKS_GB),
        ),
        Item("The way out, over IPv6", 0.0),
    ]
    if proxy:
        items.append(Item("RDS Proxy", max(8.0, min_acu * instances) * PROXY_ACU_HOUR * HOURS))
    return items


def agent_month(*, gateway_heartbeats: bool = False, period: float = HEARTBEAT_SECONDS) -> list[Item]:
    """Return the cost of an agent that is connected all month, sends a heartbeat each `period` seconds, and gets no command."""
    beats, sockets = SECONDS / period, SECONDS / SOCKET_SECONDS
    return [
        Item("Being connected", MINUTES * SOCKET_MINUTE),
        Item("Heartbeats, as messages", beats * SOCKET_MESSAGE),
        Item(
            "Heartbeats, as invocations",
            0.0 if gateway_heartbeats else invocations(beats, HEARTBEAT_MS) + beats * DATABASE_IO,
        ),
        Item(
            "Heartbeats, through the edge",
            beats * (BEAT_BYTES * CLOUDFRONT_GB_IN + BEAT_BYTES_BACK * CLOUDFRONT_GB) / 1e9,
        ),
        Item(
            "Reconnecting every two hours",
            sockets * (HTTP_REQUEST + CLOUDFRONT_REQUEST) + invocations(sockets * (CONNECT_FUNCTIONS + 1), FUNCTION_MS),
        ),
    ]


def million_commands() -> list[Item]:
    """Return the cost of a million commands that are submitted one by one, acknowledged and completed."""
    n = MILLION
    return [
        Item(
            "Submitting: a request, commands",
            n * HTTP_REQUEST + invocations(n, FUNCTION_MS) + n * ACCESS_LOG_BYTES / 1e9 * LOG_GB,
        ),
        Item("Delivering: a post to @connections", n * SOCKET_MESSAGE),
        Item("Ack and result: two messages", 2 * n * SOCKET_MESSAGE + invocations(2 * n, FUNCTION_MS)),
        Item("The database's I/O", n * IO_PER_COMMAND * DATABASE_IO),
    ]


def alternatives() -> list[Item]:
    """Return the fixed costs of other ways out of the network."""
    return [
        Item("An egress-only gateway for IPv6 (built)", 0.0),
        Item("NAT gateways in two zones", 2 * NAT_HOUR * HOURS),
        Item("Two interface endpoints in two zones, which do not reach @connections", 4 * ENDPOINT_HOUR * HOURS),
    ]


def total(items: Iterable[Item]) -> float:
    """Add up."""
    return sum(item.usd for item in items)


def main() -> None:
    """Print the bill."""
    parser = argparse.ArgumentParser(description="what a deployment costs a month, from list prices")
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--commands", type=int, default=1_000_000, help="a month")
    parser.add_argument("--heartbeat", type=float, default=HEARTBEAT_SECONDS, help="seconds between two heartbeats")
    given = parser.parse_args()
    parts = (
        ("An idle stack", standing(), 1.0),
        (f"{given.agents:,} agents", agent_month(period=given.heartbeat), float(given.agents)),
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
