"""Logs: a line of text, or one JSON object a line, with the command that the line is about."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from .execution import current

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; a line that a handler logs names its command."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON: time, level, logger, message, its extra fields, and the stack trace if there is one."""
        command = current.get()
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **(
                {}
                if command is None
                else {"command_id": command.id, "action": command.action, "attempt": command.attempt}
            ),
            **{name: value for name, value in record.__dict__.items() if name not in _STANDARD},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record for people; a line about a command ends with its action and its id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the line, without a stack trace."""
        command = current.get()
        action = getattr(record, "action", command and command.action)
        command_id = getattr(record, "command_id", command and command.id)
        return super().formatMessage(record) + (f" ({action} {command_id})" if command_id else "")


def configure(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Log to standard error: a line of text for people, or a line of JSON for programs."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])
