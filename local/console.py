"""What a run shows: its steps, its first screen, and the functions' log, raw in a file and readable on the terminal."""

import contextlib
import json
import logging
import logging.handlers
import math
import os
import sys
import time
from collections.abc import Callable, Generator
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

LOG_BYTES, LOG_FILES = 10_000_000, 3
"""The log file is put aside at this size; so many old ones are kept."""
IDLE = "Loaded 0 pending commands"
IDLE_SECONDS = 30.0
"""How often a sweep that found nothing is shown: a sign of life, but no flood where it runs many times a second."""
COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
STANDARD = {
    *("level", "location", "message", "timestamp", "service", "cold_start", "xray_trace_id", "sampling_rate"),
    *("function_name", "function_memory_size", "function_arn", "function_request_id"),
}
"""What Powertools writes into every line: of no use on a terminal."""


class Console:
    """Standard output for people: colours and a moving line on a terminal, plain lines elsewhere."""

    def __init__(self, out: IO[str] | None = None) -> None:
        """Write to `out`, by default standard output."""
        self._out = out or sys.stdout
        self._terminal = self._out.isatty()
        self._above: Callable[[str], None] | None = None  # prints above a moving line
        self._colours = self._terminal and "NO_COLOR" not in os.environ
        self._idle_shown_at = -math.inf

    def line(self, text: str = "") -> None:
        """Print a line; when nobody reads any more, go on without."""
        with contextlib.suppress(OSError):
            if self._above is None:
                print(text, file=self._out, flush=True)
            else:
                self._above(text)

    @contextlib.contextmanager
    def step(self, text: str) -> Generator[None, None, None]:
        """Show that something is being done, then whether it is done, and how long it took."""
        began = time.monotonic()
        mark, colour = "✗", "31"
        try:
            with self._moving(text) if self._terminal else contextlib.nullcontext():
                yield
            mark, colour = "✓", "32"
        finally:
            self.line(f"{self.coloured(mark, colour)} {text} {self.coloured(f'{time.monotonic() - began:.2f} s', '2')}")

    @contextlib.contextmanager
    def _moving(self, text: str) -> Generator[None, None, None]:
        from rich.console import Console as Rich  # noqa: PLC0415 - 0.1 s that only a terminal needs
        from rich.text import Text  # noqa: PLC0415

        rich = Rich(file=self._out)
        self._above = lambda line: rich.print(Text.from_ansi(line), soft_wrap=True)
        try:
            with rich.status(text):
                yield
        finally:
            self._above = None

    def table(self, rows: dict[str, str]) -> None:
        """Print names and values below each other."""
        width = max(map(len, rows))
        for name, value in rows.items():
            self.line(f"  {self.coloured(name.ljust(width), '1')}  {value}")

    def coloured(self, text: str, code: str) -> str:
        """Return the text in a colour, or as it is where there are none."""
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text

    def event(self, function: str, line: str) -> None:
        """Print a line of a function's log: time, level, function, message, and what else it tells."""
        record = _parsed(line)
        if record is None:
            self.line(line)
        elif "message" in record and not self._again_idle(record):  # without a message: metrics
            level = str(record.get("level", ""))
            fields = "".join(f" {name}={_short(value)}" for name, value in record.items() if name not in STANDARD)
            self.line(
                f"{datetime.now().astimezone():%H:%M:%S} {self.coloured(level.ljust(7), COLOURS.get(level, '0'))} "
                f"{function.removesuffix('Function')}: {record['message']}{self.coloured(fields, '2')}"
            )

    def _again_idle(self, record: dict[str, Any]) -> bool:
        """Tell whether this is a sweep that found nothing, soon after another one that was shown."""
        if record["message"] != IDLE or any(record.get(name) for name in record.keys() - STANDARD):
            return False
        again = time.monotonic() - self._idle_shown_at < IDLE_SECONDS
        if not again:
            self._idle_shown_at = time.monotonic()
        return again


class LogFile:
    """The functions' log as they wrote it, a new file now and then."""

    def __init__(self, path: Path) -> None:
        """Append to the file, in a folder that is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="backslashreplace"
        )

    def write(self, line: str) -> None:
        """Append a line; a full disk must not stop the dispatcher."""
        self._handler.emit(logging.LogRecord("functions", logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _short(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value, ensure_ascii=False)
