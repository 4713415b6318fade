"""The output of a run: its steps, its first screen, and the functions' log, raw in a file and readable on the terminal."""

import contextlib
import json
import logging
import logging.handlers
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

from local.home import open_private

LOG_BYTES, LOG_FILES = 10_000_000, 3
"""The size at which a new log file is begun, and how many old ones are kept."""
LINE_BYTES = 16_384
"""The longest line of a function in the log file; a longer one is cut."""
SHOWN_CHARACTERS = 2_000
"""The longest line of a function on the terminal."""
COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
STANDARD = {
    *("level", "location", "message", "timestamp", "service", "cold_start", "xray_trace_id", "sampling_rate"),
    *("function_name", "function_memory_size", "function_arn", "function_request_id"),
}
"""Fields that Powertools writes into every line, and that are not useful on a terminal."""
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""What moves the cursor, changes the terminal or the direction of the text, or is not visible; a tab is harmless."""


def printable(text: str) -> str:
    """Return a text that somebody else wrote as it may be shown on a terminal: with escapes for control characters."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - two digits are enough


class Console:
    """Standard output for people: with colours on a terminal, plain elsewhere."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # the encoding may have no ✓, and names may be in any language
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def line(self, text: str = "") -> None:
        """Print a line; ignore a closed standard output."""
        with contextlib.suppress(OSError):
            sys.stdout.write(f"{text}\n")  # at once, also where the output has no buffer
            sys.stdout.flush()

    @contextlib.contextmanager
    def step(self, text: str) -> Generator[None]:
        """After the block, show whether it succeeded and how long it took."""
        began = time.monotonic()
        mark = self.coloured("✗", "31")
        try:
            yield
            mark = self.coloured("✓", "32")
        finally:
            self.line(f"{mark} {text} {self.coloured(f'{time.monotonic() - began:.2f} s', '2')}")

    def table(self, rows: dict[str, str]) -> None:
        """Print names and values below each other."""
        width = max(map(len, rows))
        for name, value in rows.items():
            self.line(f"  {self.coloured(name.ljust(width), '1')}  {value}")

    def coloured(self, text: str, code: str) -> str:
        """Return the text in a colour, or unchanged if the output has no colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def events(self, lines: Iterable[tuple[str, str]]) -> None:
        """Print lines of functions' logs: time, level, function, message, and the other fields."""
        moment = time.strftime("%H:%M:%S")
        texts = [self._event(moment, function, line) for function, line in lines]
        if shown := [text for text in texts if text is not None]:
            self.line("\n".join(shown))

    def _event(self, moment: str, function: str, line: str) -> str | None:
        record = _parsed(line)
        if record is None:
            return _shown(line)
        if "message" not in record:  # metrics
            return None
        level = _shown(str(record.get("level", "")))
        said = _shown(f"{function.removesuffix('Function')}: {record['message']}")
        fields = "".join([f" {name}={_short(value)}" for name, value in record.items() if name not in STANDARD])
        return (
            f"{moment} {self.coloured(level.ljust(7), COLOURS.get(level, '0'))} "
            f"{said}{self.coloured(_shown(fields), '2')}"
        )


class LogFile:
    """The functions' log as they wrote it, in files of limited size that only their owner can read.

    `complain` is told the first time that the file cannot be written, because the dispatcher goes on without it.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """Append to the file; make its folder if it does not exist."""
        self.path = path
        self._handler = _Handler(path, complain)

    def write(self, *lines: str) -> None:
        """Append lines; a very long one is cut."""
        text = "\n".join(map(_cut, lines))
        self._handler.emit(logging.LogRecord("functions", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # a full disk
            self._handler.close()


class _Handler(logging.handlers.RotatingFileHandler):
    """Writes lines; the first error is told."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        self._path = path
        self._complain = complain
        self._failed = False
        super().__init__(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, delay=True)

    def _open(self) -> TextIOWrapper:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cast("TextIOWrapper", open_private(self._path, "a"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Tell the first error."""
        del record
        if not self._failed:
            self._failed = True
            self._complain(f"{self._path} cannot be written: {sys.exc_info()[1]}.  The dispatcher goes on without it.")


def _cut(line: str) -> str:
    """Return a line as it may be in the log file."""
    if len(line) * 4 <= LINE_BYTES:  # a character has at most four bytes
        return line
    data = line.encode(errors="backslashreplace")
    if len(data) <= LINE_BYTES:
        return line
    return f"{data[:LINE_BYTES].decode(errors='ignore')} … cut, {len(data)} bytes in all"


def _shown(text: str) -> str:
    """Return a text as it may be on the terminal."""
    more = f" … cut, {len(text)} characters in all" if len(text) > SHOWN_CHARACTERS else ""
    return printable(text[:SHOWN_CHARACTERS]) + more


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _short(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
