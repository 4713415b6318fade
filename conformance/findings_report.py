"""The findings, for people and for machines."""

import json
from collections import Counter
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from conformance.checks import Level
from conformance.findings import Finding, Findings, Verdict
from conformance.scenarios import SCENES

MARKS = {
    Verdict.PASSED: "[green]✓[/]",
    Verdict.FAILED: "[bold red]✗[/]",
    Verdict.SKIPPED: "[dim]–[/]",  # noqa: RUF001 - a dash for what is not judged
    Verdict.UNREACHED: "[yellow]–[/]",  # noqa: RUF001
}
WIDTH = 120


class Progress:
    """What is going on, one line a scene, while it goes on."""

    def __init__(self, findings: Findings) -> None:
        """Look at these findings whenever the display is drawn."""
        self._findings = findings
        self._states: dict[str, bool] = {}
        self._spinner = Spinner("dots")

    def told(self, scene: str, over: bool) -> None:  # noqa: FBT001 - as the runner tells
        """Note that a scene begins, or is over."""
        self._states[scene] = over

    def __rich__(self) -> Table:
        """Draw it."""
        table = Table.grid(padding=(0, 1))
        for scene, over in self._states.items():
            marks = Counter(finding.verdict for finding in self._findings.of_scene(scene))
            failed, passed = marks[Verdict.FAILED], marks[Verdict.PASSED]
            mark = (MARKS[Verdict.FAILED] if failed else MARKS[Verdict.PASSED]) if over else self._spinner
            counted = f"[green]{passed} hold[/]" + (f", [red]{failed} do not[/]" if failed else "")
            table.add_row(mark, SCENES[scene][0], counted)
        return table


def show(console: Console, findings: Findings, seconds: float) -> None:
    """Print a table of all checks, and what to do about each that does not hold."""
    told: set[str] = set()
    for scene, (title, _) in SCENES.items():
        if found := findings.of_scene(scene):
            console.print(f"\n[bold cyan]{title}[/]")
            console.print(_table(found, told))
    for finding in findings.all():
        if finding.verdict is Verdict.FAILED:
            console.print()
            console.print(_advice(finding))
    console.print()
    console.print(_summary(findings, seconds))


def as_json(findings: Findings, agent: str) -> str:
    """Return everything as one JSON document."""
    checks: list[dict[str, Any]] = [
        {
            "name": finding.check.name,
            "level": finding.check.level.value,
            "scene": finding.check.scene,
            "verdict": finding.verdict.name.lower(),
            "seen": finding.seen,
            "expected": finding.check.expected,
            "sentence": finding.check.sentence,
            "mend": finding.check.mend,
        }
        for finding in findings.all()
    ]
    return json.dumps({"agent": agent, "conforms": findings.conforms(), "checks": checks}, indent=2, ensure_ascii=False)


def _table(found: list[Finding], told: set[str]) -> Table:
    """Draw the checks of a scene; why some were not reached is `told` once, not beside each of them."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=6)
    table.add_column(width=21, no_wrap=True)
    table.add_column(overflow="fold")
    for finding in found:
        dim = finding.verdict in {Verdict.SKIPPED, Verdict.UNREACHED}
        note = f" [dim]({escape(finding.seen.splitlines()[0])})[/]" if finding.seen else ""
        if finding.verdict is Verdict.UNREACHED:
            note = "" if finding.seen in told else note
            told.add(finding.seen)
        text = escape(finding.check.expected) + (note if finding.verdict is not Verdict.FAILED else "")
        style = "bold" if finding.check.level is Level.MUST else "none"
        table.add_row(
            MARKS[finding.verdict],
            f"[{style}]{finding.check.level.value}[/]",
            finding.check.name,
            f"[dim]{text}[/]" if dim else text,
        )
    return table


def _advice(finding: Finding) -> Panel:
    check = finding.check
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row("the protocol", Text(check.sentence) if check.sentence else "says nothing about it: good manners")
    rows.add_row("expected", Text(check.expected))
    rows.add_row("seen", Text(finding.seen, style="red"))
    rows.add_row("to mend it", Text(check.mend))
    border = "red" if check.level is Level.MUST else "yellow"
    return Panel(
        rows, title=f"✗ {check.level.value} [bold]{check.name}[/]", title_align="left", border_style=border, width=WIDTH
    )


def _summary(findings: Findings, seconds: float) -> Group | str:
    found = findings.all()
    counts = Counter((finding.check.level, finding.verdict) for finding in found)
    lines = [
        f"{level.value}: {counts[level, Verdict.PASSED]} hold, {counts[level, Verdict.FAILED]} do not, "
        f"{counts[level, Verdict.UNREACHED]} were not reached, {counts[level, Verdict.SKIPPED]} do not apply"
        for level in Level
    ]
    verdict = (
        "[bold green]✓ the agent conforms[/]" if findings.conforms() else "[bold red]✗ the agent does not conform[/]"
    )
    return Group(f"{verdict}, after {seconds:.0f} s", *(f"  {line}" for line in lines))
