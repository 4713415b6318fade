"""Data on stdout: tables for people, the API's own JSON for programs."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from command_dispatcher.cli.options import Format
from command_dispatcher.cli.stopping import end_quietly, say
from command_dispatcher.cli.tables import Column, lines_of
from command_dispatcher.cli.values import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console

    from command_dispatcher.client.sync_transport import Pages

PAGE = 200


def emit(text: str) -> None:
    """Write a line of data; end quietly if nobody reads it."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()


def on_terminal() -> bool:
    """Tell whether a person reads stdout."""
    return sys.stdout.isatty()


def console(*, stderr: bool = False) -> "Console":
    """Return a console that obeys NO_COLOR and TERM: then nothing is bold either."""
    from rich.console import Console

    colors: Literal["auto"] | None = None if plain() else "auto"
    dumb = False if os.environ.get("TERM") == "dumb" else None
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, force_terminal=dumb, color_system=colors)


def show_list(
    read: "Callable[[int, str | None], Pages[Any]]",
    columns: Sequence[Column],
    form: Format,
    limit: int,
    first: str | None = None,
) -> None:
    """Show at most `limit` items of a list (0: all); `read` gets the size and the cursor of a page.

    Where there are none, `first` is the command that makes the first one.
    """
    items: list[Mapping[str, Any]] = []
    cursor: str | None = None
    plural = ""
    while True:
        left = limit - len(items) if limit else PAGE
        pages = read(min(left, PAGE), cursor)
        page = next(iter(pages.pages()))
        plural, cursor = pages.plural, page["nextCursor"]
        items += page[plural]
        if cursor is None or (limit and len(items) >= limit):
            break
    show_items(items, columns, form, whole={plural: items, "nextCursor": cursor})
    if cursor is not None:
        say(f"There are more than {len(items)}; --limit 0 shows all.")
    elif not items and form is Format.TABLE:
        say("There are none." + (f"\nnext: {first}" if first else ""))


def show_items(
    items: Sequence[Mapping[str, Any]], columns: Sequence[Column], form: Format, whole: Mapping[str, Any]
) -> None:
    """Show items; `whole` is the API's own answer with them."""
    match form:
        case Format.JSON:
            emit(json_text(whole))
        case Format.NDJSON:
            for item in items:
                emit(json_text(item, indent=None))
        case Format.ID:
            column = next(column for column in columns if column.is_id)
            for item in items:
                emit(printable(column.text(item)))
        case Format.TABLE:
            show_table(items, columns)


def show_table(items: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Show a table; in a pipe: values between tabs, nothing shortened, no header."""
    rows = [[printable(column.text(item)) for column in columns] for item in items]
    if not on_terminal():
        for row in rows:
            emit("\t".join(row))
        return
    if not rows:
        return
    for line in lines_of(rows, columns, plain=plain()):
        emit(line)


def show_one(item: Mapping[str, Any], fields: Sequence[Column], form: Format) -> None:
    """Show one thing, a field on each line; fields without a value are left out."""
    if form is not Format.TABLE:
        show_items([item], fields, form, whole=item)
        return
    shown = [(field.header, field.text(item)) for field in fields]
    width = max(len(header) for header, _ in shown)
    for header, text in shown:
        if text:
            lines = [printable(line) for line in text.split("\n")]
            emit(f"{header:<{width}}  " + f"\n{'':<{width}}  ".join(lines))


def show_text(text: str, item: Mapping[str, Any], form: Format) -> None:
    """Show a sentence for people, or the API's object."""
    if form is Format.TABLE:
        emit(printable(text, keep_lines=True))
    else:
        emit(json_text(item, indent=2 if form is Format.JSON else None))


def plain() -> bool:
    """Tell whether colours and movement are unwanted."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
