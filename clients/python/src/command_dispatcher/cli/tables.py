"""Tables for a terminal: each column gets its room, and each row its lines.

Rich could draw them, but it takes as long to load as the rest of a command; only texts that are not ASCII need it.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

GAP = 2
SHORT = 9
"""Columns of a terminal that every column of a table keeps, if it has as many."""
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
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its header, and how its text is made from an item's JSON."""

    header: str
    text: Callable[[Mapping[str, Any]], str]
    is_id: bool = False
    """The item's id, for `-o id`."""
    whole: bool = False
    """It is never shortened; what is neither whole nor an id ends with an ellipsis where there is no room."""
    optional: bool = False
    """It is left out on a terminal that has no room for it; an optional id, as soon as anything had to be shortened."""

    @property
    def is_folded(self) -> bool:
        """Whether it goes on in the next line rather than being shortened."""
        return self.whole or self.is_id


def lines_of(
    rows: Sequence[Sequence[str]], columns: Sequence[Column], room: int | None = None, *, plain: bool
) -> Iterator[str]:
    """Yield the lines of a table with its header; `room` is the terminal's width unless given, `plain` has no colours."""
    widths = column_widths(rows, columns, room or shutil.get_terminal_size().columns)
    yield _line([(columns[index].header, width, "bold") for index, width in widths.items()], plain=plain)
    for row in rows:
        cells = [_cell(row[index], width, columns[index]) for index, width in widths.items()]
        styles = [STYLES.get(row[index], "") for index in widths]
        for parts in zip_longest(*cells, fillvalue=""):
            yield _line(list(zip(parts, widths.values(), styles, strict=True)), plain=plain)


def column_widths(rows: Sequence[Sequence[str]], columns: Sequence[Column], room: int) -> dict[int, int]:
    """Give each column its room, by its index: the widest shrink first, then optional ones go, the whole are folded last."""
    natural = {
        index: max(map(_width, (column.header, *(row[index] for row in rows)))) for index, column in enumerate(columns)
    }
    if _total(natural) > room:
        natural = {
            index: width for index, width in natural.items() if not (columns[index].optional and columns[index].is_id)
        }
    flexible = [index for index, column in enumerate(columns) if not column.is_folded]
    while True:
        widths = _shrunk(natural, [index for index in flexible if index in natural], room)
        optional = [index for index in natural if columns[index].optional]
        if _total(widths) <= room or not optional:
            break
        del natural[optional[-1]]
    return _shrunk(widths, list(widths), room)


def _shrunk(widths: Mapping[int, int], flexible: Sequence[int], room: int) -> dict[int, int]:
    shrunk = dict(widths)
    while _total(shrunk) > room:
        index = max(flexible, key=shrunk.__getitem__, default=None)
        if index is None or shrunk[index] <= SHORT:
            break
        shrunk[index] -= 1
    return shrunk


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _cell(text: str, width: int, column: Column) -> list[str]:
    if _width(text) <= width:
        return [text]
    if column.is_folded:
        return _folded(text, width)
    return [_folded(text, width - 1)[0] + "…"]


def _line(parts: Sequence[tuple[str, int, str]], *, plain: bool) -> str:
    shown = ""
    for text, width, style in parts:
        shown += f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and text and not plain else text
        shown += " " * (width - _width(text) + GAP)
    return shown.rstrip()


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _folded(text: str, width: int) -> list[str]:
    if text.isascii():
        return [text[start : start + width] for start in range(0, len(text), width)]
    from rich.cells import chop_cells

    return chop_cells(text, width)
