"""`dispatcher overview`: the fleet on one screen."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import ContextOption, Format, Output
from command_dispatcher.cli.output import console, emit, on_terminal, plain
from command_dispatcher.cli.stopping import say
from command_dispatcher.cli.tables import STYLES
from command_dispatcher.cli.values import duration, json_text, moment, printable

if TYPE_CHECKING:
    from rich.text import Text

    from command_dispatcher.client import Client
    from command_dispatcher.client.models import Overview

SECONDS = 2.0
BARS = "▁▂▃▄▅▆▇█"
LATENCIES = (
    ("acceptedToSent", "accepted to sent"),
    ("sentToAcknowledged", "sent to acknowledged"),
    ("acknowledgedToEnded", "acknowledged to ended"),
)


def overview(
    once: Annotated[bool, typer.Option("--once", help="Show it once; a pipe gets it once in any case.")] = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Show agents, commands and latencies, live until Ctrl-C."""
    with connected(context) as client:
        found = client.overview()
        if output is not Format.TABLE:
            emit(json_text(found.raw, indent=2 if output is Format.JSON else None))
        elif once or not on_terminal() or plain():
            for line in lines(found):
                emit("".join(text for text, _ in line).rstrip())
        else:
            _live(client, found)


def _live(client: "Client", found: "Overview") -> None:
    from rich.live import Live

    from command_dispatcher.client import DispatcherError

    note = ""
    with Live(_screen(found, note), console=console(), screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(SECONDS)
                try:
                    found, note = client.overview(), ""
                except DispatcherError as error:
                    note = f"No new figures: {error}"
                live.update(_screen(found, note), refresh=True)
        except KeyboardInterrupt:
            pass
    say(f"The figures are of {moment(found.at)}.")


def _screen(found: "Overview", note: str) -> "Text":
    from rich.text import Text

    screen = Text(no_wrap=True, overflow="ellipsis")
    for line in [*lines(found), [("", "")], [(printable(note) or "Ctrl-C ends.", "red" if note else "dim")]]:
        for text, style in line:
            screen.append(text, style=style)
        screen.append("\n")
    return screen


def lines(found: "Overview") -> list[list[tuple[str, str]]]:
    """Return the lines of the screen, each as texts with their styles; 80 columns are enough."""
    presence, oldest = found.agents, found.oldest_due_seconds
    shown: list[list[tuple[str, str]]] = [
        [
            ("AGENTS    ", "bold"),
            *_counts({name: getattr(presence, name) for name in ("online", "degraded", "offline")}),
        ],
        [("COMMANDS  ", "bold"), *_counts(found.commands)],
        [("DUE       ", "bold"), (f"oldest for {duration(oldest)}" if oldest else "nothing", "")],
        [("DEAD      ", "bold"), (f"{found.dead_last24h} in 24 hours", "red" if found.dead_last24h else "")],
        [("", "")],
        [(f"LAST {len(found.series)} MINUTES", "bold")],
    ]
    for name in ("accepted", "sent", "completed", "failed"):
        counts = [int(getattr(minute, name)) for minute in found.series]
        shown.append([(f"{name:<10}", ""), (sparkline(counts), STYLES.get(name, "")), (f" {sum(counts)}", "")])
    shown += [[("", "")], [(f"{'LATENCY':<22}{'p50':>9}{'p95':>9}{'p99':>9}", "bold")]]
    for member, name in LATENCIES:
        figures: Mapping[str, float | None] = found.latency.get(member, {})
        shown.append([(f"{name:<22}" + "".join(f"{_seconds(figures.get(p)):>9}" for p in ("p50", "p95", "p99")), "")])
    shown += [[("", "")], [(f"as of {moment(found.at)}", "dim")]]
    return shown


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as bars, scaled to the largest."""
    most = max(counts, default=0)
    return "".join(" " if not count else BARS[(count * (len(BARS) - 1)) // most] for count in counts)


def _counts(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for name, count in counts.items():
        if count or name in {"online", "offline", "pending"}:
            parts += [(f"{count} ", "bold"), (f"{printable(name)}   ", STYLES.get(name, ""))]
    return parts


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
