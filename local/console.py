"""The output of a run: its steps, its first screen, and the functions' log, raw in a file and readable on the terminal."""

import contextlib
import json
import logging
import logging.handlers
import os
import sys
import time
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from typing import Any, cast

LOG_BYTES, LOG_FILES = 10_000_000, 3
"""The size at which a new log file is begun, and how many old ones are kept."""
COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
STANDARD = {
    *("level", "location", "message", "timestamp", "service", "cold_start", "xray_trace_id", "sampling_rate"),
    *("function_name", "function_memory_size", "function_arn", "function_request_id"),
}
"""Fields that Powertools writes into every line, and that are not useful on a terminal."""


class Console:
    """Standard output for people: with colours on a terminal, plain elsewhere."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def line(self, text: str = "") -> None:
        """Print a line; ignore a closed standard output."""
        with contextlib.suppress(OSError):
            print(text, flush=True)  # noqa: T201

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

    def event(self, function: str, line: str) -> None:
        """Print a line of a function's log: time, level, function, message, and its other fields."""
        record = _parsed(line)
        if record is None:
            self.line(line)
        elif "message" in record:  # without a message: metrics
            level = str(record.get("level", ""))
            fields = "".join(f" {name}={_short(value)}" for name, value in record.items() if name not in STANDARD)
            self.line(
                f"{datetime.now().astimezone():%H:%M:%S} {self.coloured(level.ljust(7), COLOURS.get(level, '0'))} "
                f"{function.removesuffix('Function')}: {record['message']}{self.coloured(fields, '2')}"
            )


class LogFile:
    """The functions' log as they wrote it, in files of limited size."""

    def __init__(self, path: Path) -> None:
        """Append to the file; make its folder if it does not exist."""
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
