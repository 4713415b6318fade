"""The report to the user of the kit: tables for people, one JSON document for programs."""

import json
from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.checks import Level
from conformance.findings import Finding, Findings, Verdict
from conformance.scenarios import SCENARIOS

WIDTH = 120
LABELS = {
    Verdict.PASSED: "[green]passed[/]",
    Verdict.FAILED: "[bold red]FAILED[/]",
    Verdict.SKIPPED: "[dim]skipped[/]",
    Verdict.NOT_REACHED: "[yellow]not reached[/]",
}


def show(console: Console, findings: Findings, seconds: float) -> None:
    """Print the verdict about every check, then what to do about each failure, then the totals."""
    for scenario, (title, _) in SCENARIOS.items():
        if found := findings.of_scenario(scenario):
            console.print(f"\n[bold]{title}[/]")
            console.print(_verdicts(found))
    for finding in findings.all():
        if finding.verdict is Verdict.FAILED:
            console.print(f"\n[bold red]FAILED: {finding.check.level} {finding.check.name}[/]")
            console.print(_explanation(finding))
    conforms = "[bold green]The agent conforms[/]" if findings.conforms() else "[bold red]The agent does not conform[/]"
    console.print(f"\n{conforms} to docs/protocol.md. The run took {seconds:.0f} s.")
    for level in Level:
        counts = Counter(finding.verdict for finding in findings.all() if finding.check.level is level)
        console.print(f"  {level}: " + ", ".join(f"{counts[verdict]} {label}" for verdict, label in LABELS.items()))


def as_json(findings: Findings, agent: str) -> str:
    """Return everything as one JSON document."""
    checks: list[dict[str, Any]] = [
        {
            "name": finding.check.name,
            "level": finding.check.level.value,
            "scenario": finding.check.scenario,
            "verdict": finding.verdict.name.lower(),
            "seen": finding.seen,
            "expected": finding.check.expected,
            "sentence": finding.check.sentence,
            "advice": finding.check.advice,
        }
        for finding in findings.all()
    ]
    return json.dumps({"agent": agent, "conforms": findings.conforms(), "checks": checks}, indent=2, ensure_ascii=False)


def _verdicts(found: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for width in (11, 6, 21):
        table.add_column(width=width, no_wrap=True)
    table.add_column(overflow="fold")
    last_reason = ""
    for finding in found:
        note = finding.seen.partition("\n")[0]
        if finding.verdict is Verdict.FAILED or (finding.verdict is Verdict.NOT_REACHED and note == last_reason):
            note = ""
        elif finding.verdict is Verdict.NOT_REACHED:
            last_reason = note
        check = finding.check
        text = f"{check.expected} ({note})" if note else check.expected
        table.add_row(LABELS[finding.verdict], check.level.value, check.name, escape(text))
    return table


def _explanation(finding: Finding) -> Table:
    check = finding.check
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True, min_width=18)
    rows.add_column(overflow="fold")
    rows.add_row("  Expected", escape(check.expected))
    rows.add_row("  Observed", escape(finding.seen))
    rows.add_row("  docs/protocol.md", escape(f"“{check.sentence}”" if check.sentence else "does not mention this"))
    rows.add_row("  What to do", escape(check.advice))
    return rows
