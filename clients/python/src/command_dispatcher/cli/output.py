"""Data on stdout: tables for people, the API's own JSON for programs."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from command_dispatcher.cli.options import Format
from command_dispatcher.cli.stopping import end_quietly, say
from command_dispatcher.cli.values import json_text, printable

if TYPE_CHECKING:
    from rich.console import Console

    from command_dispatcher.client.sync_transport import Pages

PAGE = 200
GAP = 2
SHORT = 12
"""Columns of a terminal that every column of a table keeps: the longest status has so many characters."""
STYLES = {
    "online": "green",
    "completed": "green",
    "approved": "green",
    "running": "green",
    "degraded": "yellow",
    "pending": "yellow",
    "sent": "cyan",
    "acknowledged": "cyan",
    "offline": "dim",
    "cancelled": "dim",
    "expired": "red",
    "failed": "red",
    "dead": "red",
    "timed_out": "red",
    "rejected": "red",
}
"""Colours repeat what the word says; nothing is said by colour alone."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its header, and how its text is made from an item's JSON."""

    header: str
    text: Callable[[Mapping[str, Any]], str]
    is_id: bool = False
    """An id is never shortened."""


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
    """Return a console that obeys NO_COLOR and TERM."""
    from rich.console import Console

    dumb = False if os.environ.get("TERM") == "dumb" else None
    return Console(stderr=stderr, highlight=False, emoji=False, markup=False, force_terminal=dumb)


def show_list(
    read: "Callable[[int, str | None], Pages[Any]]", columns: Sequence[Column], form: Format, limit: int
) -> None:
    """Show at most `limit` items of a list (0: all); `read` gets the size and the cursor of a page."""
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
        say(f"The first {len(items)} are shown; --limit 0 shows all.")
    elif not items and form is Format.TABLE:
        say("There are none.")


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
    from rich.table import Table
    from rich.text import Text

    screen = console()
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for column, width in zip(columns, _widths(rows, columns, screen.width), strict=True):
        table.add_column(
            column.header, width=width, no_wrap=not column.is_id, overflow="fold" if column.is_id else "ellipsis"
        )
    for row in rows:
        table.add_row(*(Text(text, style=STYLES.get(text, "")) for text in row))
    _print(table, screen)


def _widths(rows: Sequence[Sequence[str]], columns: Sequence[Column], room: int) -> list[int]:
    """Give each column its room: the widest that is neither an id nor short shrinks first, ids are folded last."""
    from rich.cells import cell_len

    widths = [
        max(map(cell_len, (column.header, *(row[index] for row in rows)))) for index, column in enumerate(columns)
    ]
    for is_id in (False, True):
        while sum(widths) + GAP * (len(widths) - 1) > room:
            flexible = [i for i, column in enumerate(columns) if column.is_id is is_id and widths[i] > SHORT]
            if not flexible:
                break
            widths[max(flexible, key=widths.__getitem__)] -= 1
    return widths


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


def _print(what: object, screen: "Console") -> None:
    try:
        screen.print(what)
        sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()


def plain() -> bool:
    """Tell whether colours and movement are unwanted."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
