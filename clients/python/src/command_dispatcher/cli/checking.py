"""`dispatcher check`: whether anything is lost or stuck."""

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import ContextOption, Format, Output
from command_dispatcher.cli.output import emit, show_table
from command_dispatcher.cli.stopping import Exit, say
from command_dispatcher.cli.values import duration, json_text


def check(output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Run the loss check on the live commands; exit code 1 if any invariant is broken."""
    with connected(context) as client:
        report = client.check_for_loss()
    if output is Format.TABLE:
        show_table(report.raw["findings"], columns.FINDINGS)
        say("Every invariant holds." if report.clean else "An invariant is broken.")
        oldest = report.figures["oldest_due_seconds"]
        say(f"The oldest due command has waited {duration(oldest)}." if oldest else "No command is due.")
    else:
        emit(json_text(report.raw, indent=2 if output is Format.JSON else None))
    raise typer.Exit(Exit.COMPLETED if report.clean else Exit.FAILED)
