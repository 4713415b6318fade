"""The options that many commands have."""

from enum import StrEnum
from typing import Annotated

import typer

from command_dispatcher.cli.completing import context_names


class Format(StrEnum):
    """How data is written to stdout."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    ID = "id"


Output = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        envvar="DISPATCHER_OUTPUT",
        show_envvar=False,
        help="table; json: the API's own shape; ndjson: an item a line; id: only ids.",
    ),
]
ContextOption = Annotated[
    str | None,
    typer.Option("--context", help="The service to use, by the name of its context.", autocompletion=context_names),
]
Limit = Annotated[int, typer.Option("--limit", min=0, help="The most items; 0 for all.")]
Selector = Annotated[
    str | None, typer.Option("--selector", "-l", help="Agents by labels: env=prod,tier in (a,b),!canary")
]
Label = Annotated[list[str] | None, typer.Option("--label", help="name=value; may be repeated.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
DEFAULT_LIMIT = 50
