"""The figures of docs/figures.md, as `make generated` writes them."""

from local.tools import capacity as load
from local.tools import costs
from local.tools.costs import Item, total

SIZES = (1_000, 100_000, 1_000_000)


def render() -> str:
    """Return the document."""
    fixed, large = costs.standing(), costs.standing(min_acu=1, replica=True, proxy=True)
    sizes = " | ".join(f"{size:,} agents" for size in SIZES)
    lines = [
        "# Figures: costs and scaling limits",
        "",
        "Made by `make generated` from `local/tools/costs.py` and `local/tools/capacity.py`; a test compares them.",
        "`make costs` computes the bill for other numbers of agents and commands. [deploy.md](deploy.md) and",
        "[scale.md](scale.md) say what follows.",
        "",
        f"**Prices** are AWS's list prices of us-east-1 in USD, {costs.PRICES_AS_OF}, without free tiers and discounts.",
        "They were entered by hand and compared with articles of May and June 2026 for API Gateway and Aurora. Check",
        "AWS's pages before you rely on them (aws.amazon.com, `/<service>/pricing`).",
        "",
        f"**Assumed**, and not measured on AWS: a heartbeat takes a function {costs.HEARTBEAT_MS:g} ms and everything",
        f"else {costs.FUNCTION_MS:g} ms, with {costs.MEMORY_GB:g} GB; an invocation logs {costs.LOG_BYTES:g} bytes;",
        f"{costs.TRACED:.0%} are traced; a command takes {costs.IO_PER_COMMAND:g} I/Os.",
        "",
        "## Without any use",
        *_table(fixed, "USD a month"),
        "",
        f"With a second instance, RDS Proxy and 1 ACU at least: {total(large):.2f}.",
        "",
        "Ways from the functions to @connections, Lambda and Secrets Manager:",
        *_table(costs.alternatives(), "USD a month", summed=False),
        "",
        "## An agent, connected all month",
        *_table(costs.agent_month(), "USD a month", digits=4),
        "",
        "Heartbeats are most of it. If the gateway itself answered them, an agent would cost",
        f"{total(costs.agent_month(gateway_heartbeats=True)):.4f}; with one every five minutes instead of every 30 s,",
        f"{_slow():.4f}.",
        "",
        "## A million commands",
        *_table(costs.million_commands(), "USD"),
        "",
        "## Scaling limits and tuning",
        f"{load.COMMANDS_AN_AGENT_A_DAY} commands an agent a day, a heartbeat every {costs.HEARTBEAT_SECONDS:g} s. Each cell",
        "is the demand; **bold** where it exceeds the limit.",
        "",
        f"| | limit | {sizes} | setting |",
        "|---|---|" + "---|" * len(SIZES) + "---|",
        *_rows(),
        "",
    ]
    return "\n".join(lines)


def _slow() -> float:
    beats = costs.SECONDS / 300
    connected, _, _, reconnecting = costs.agent_month()
    each = costs.SOCKET_MESSAGE + costs.DATABASE_IO
    return connected.usd + reconnecting.usd + beats * each + costs.invocations(beats, costs.HEARTBEAT_MS)


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
