"""The figures of docs/reference/figures.md, as `make generated` writes them."""

from local.tools import capacity as load
from local.tools import costs
from local.tools.costs import Item, total

SIZES = (1_000, 100_000, 1_000_000)
PERIODS = (30, 60, 120, 240)
"""Seconds; 240 is the most that HeartbeatSeconds takes."""

MEASURED = (
    (
        "A heartbeat",
        f"{costs.HEARTBEAT_MS:g} ms",
        "1.4 ms, of which 0.4 ms of a processor; a function of 0.5 GB has 29% of one",
    ),
    ("A report", f"{costs.FUNCTION_MS:g} ms", "1.8 ms, of which 0.5 ms of a processor"),
    (
        "Log of an invocation",
        f"{costs.LOG_BYTES:g} bytes",
        "0 for heartbeats, submissions and reports, 520 for a new connection, with `LogLevel=INFO`",
    ),
    (
        "I/Os of a command, of 4 KB each",
        f"{costs.IO_PER_COMMAND:g}",
        "at most 7: 6 KB of write-ahead log, in 5 transactions",
    ),
    ("Start of an environment", f"{costs.INIT_MS:g} ms", "320 to 580 ms of a processor until the code is loaded"),
    ("Environments that start", f"{costs.COLD:.1%} of the invocations", "not measured: it depends on the load"),
)
"""What the bill assumes, and what was measured of it."""


def render() -> str:
    """Return the document."""
    fixed, large = costs.standing(), costs.standing(min_acu=1, replica=True, proxy=True)
    sizes = " | ".join(f"{size:,} agents" for size in SIZES)
    lines = [
        "# Figures: cost and limits",
        "",
        "Written by `make generated` from `local/tools/costs.py` and `local/tools/capacity.py`; a test compares them.",
        "`make costs` computes the bill for other numbers of agents and commands. [deploy.md](../deploy.md) and",
        "[scale.md](../scale.md) say what follows.",
        "",
        f"**Prices** are AWS's list prices of us-east-1 in USD, {costs.PRICES_AS_OF}, without free tiers and discounts.",
        "They were entered by hand, and compared with articles of May and June 2026 for API Gateway and Aurora. Check",
        "AWS's pricing pages before you rely on them (aws.amazon.com, `/<service>/pricing`).",
        "",
        f"**Assumed**, and not measured on AWS: a heartbeat takes a function {costs.HEARTBEAT_MS:g} ms and everything",
        f"else {costs.FUNCTION_MS:g} ms, with {costs.MEMORY_GB:g} GB; an invocation logs {costs.LOG_BYTES:g} bytes;",
        f"{costs.COLD:.1%} of them start an environment, in {costs.INIT_MS:g} ms; a command takes",
        f"{costs.IO_PER_COMMAND:g} I/Os.",
        "",
        "What can be measured without AWS, on one machine with two cores, and PostgreSQL beside the function:",
        "",
        "| | assumed | measured |",
        "|---|---|---|",
        *(f"| {what} | {assumed} | {measured} |" for what, assumed, measured in MEASURED),
        "",
        "`tests/integration/functions/test_assumptions.py` keeps the log and the I/Os below what is assumed.",
        "",
        "## An idle stack",
        *_table(fixed, "USD a month"),
        "",
        f"With a second instance, RDS Proxy and a minimum of 1 ACU: {total(large):.2f}.",
        "",
        "The functions' way out to @connections, Lambda and Secrets Manager:",
        *_table(costs.alternatives(), "USD a month", summed=False),
        "",
        "## An agent, connected all month",
        *_table(costs.agent_month(), "USD a month", digits=4),
        "",
        "Heartbeats are most of it. `HeartbeatSeconds` sets their period, and presence follows it. The last column is a route",
        "with a MOCK integration, which answers without a function and stores nothing:",
        "",
        "| a heartbeat each | USD a month | if the gateway answered |",
        "|---|---|---|",
        *(f"| {period} s | {_agent(period):.4f} | {_agent(period, answered=True):.4f} |" for period in PERIODS),
        "",
        "With a period of four minutes such a route would save less than a cent for each agent and month, and the service",
        "would no longer know who is online. So there is none.",
        "",
        "## A million commands",
        *_table(costs.million_commands(), "USD"),
        "",
        "## Limits",
        f"Assumed: {load.COMMANDS_AN_AGENT_A_DAY} commands for each agent and day, and a heartbeat every",
        f"{costs.HEARTBEAT_SECONDS:g} s. Each cell is the demand; it is **bold** if it exceeds the limit.",
        "",
        f"| | limit | {sizes} | what moves it |",
        "|---|---|" + "---|" * len(SIZES) + "---|",
        *_rows(),
        "",
    ]
    return "\n".join(lines)


def _agent(period: float, *, answered: bool = False) -> float:
    return total(costs.agent_month(gateway_heartbeats=answered, period=period))


def _table(items: list[Item], head: str, *, digits: int = 2, summed: bool = True) -> list[str]:
    lines = ["", f"| | {head} |", "|---|---|", *(f"| {item.what} | {item.usd:,.{digits}f} |" for item in items)]
    return [*lines, f"| **All** | **{total(items):,.{digits}f}** |"] if summed else lines


def _rows() -> list[str]:
    rows: list[str] = []
    for each in zip(*(load.loads(size) for size in SIZES), strict=True):
        cells = [f"**{one.asked:,.0f}**" if one.share > 1 else f"{one.asked:,.1f}" for one in each]
        first = each[0]
        there = f"{first.limit:,.0f} {first.unit}".strip()
        rows.append(f"| {first.what} | {there} | " + " | ".join(cells) + f" | {first.switch} |")
    return rows
