"""What is to be sent, as it comes from options, files and pipes."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from command_dispatcher.cli.stopping import usage
from command_dispatcher.cli.values import moment_from, seconds_from
from command_dispatcher.digits import loads


def text_of(source: str) -> str:
    """Read a file, or stdin for a dash; raises Stop."""
    try:
        return sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise usage(f"{source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise usage(f"{source} is not a text in UTF-8.") from None


def payload_of(option: str) -> Any:
    """Read --payload: JSON, @file or @- for stdin; raises Stop."""
    text = text_of(option[1:]) if option.startswith("@") else option
    try:
        return loads(text)
    except ValueError as error:
        raise usage(f"The payload is not JSON: {error}", """--payload '{"now": true}', or --payload @file""") from None


def commands_of(source: str) -> list[dict[str, Any]]:
    """Read commands in the API's own form from a file or, for a dash, stdin: NDJSON or one JSON list; raises Stop."""
    text = text_of(source)
    if text.lstrip().startswith("["):
        try:
            found: list[Any] = loads(text)
        except ValueError as error:
            raise usage(f"{source} is not JSON: {error}") from None
        return [_object(f"{source}, item {number}", item) for number, item in enumerate(found, 1)]
    return list(_lines(source, text))


def _lines(source: str, text: str) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            place = f"{source}, line {number}"
            try:
                value = loads(line)
            except ValueError as error:
                raise usage(f"{place} is not JSON: {error}") from None
            yield _object(place, value)


def _object(place: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or "agentId" not in value or "action" not in value:
        raise usage(
            f"{place} is not a command.", 'a command is {"agentId": "edge-1", "action": "restart", "payload": {}}'
        )
    return dict(cast("Mapping[str, Any]", value))


def options_of(
    *,
    ttl: str | None,
    execution_timeout: str | None,
    not_before: str | None,
    max_attempts: int | None,
    priority: int | None,
    session: str | None,
    redeliver_after_ack: bool,
) -> dict[str, Any]:
    """Return the members of a command that options give, in the API's names; raises Stop."""
    try:
        given = {
            "ttlSeconds": seconds_from(ttl) if ttl else None,
            "executionTimeoutSeconds": seconds_from(execution_timeout) if execution_timeout else None,
            "notBefore": moment_from(not_before, past=False).isoformat() if not_before else None,
            "maxAttempts": max_attempts,
            "priority": priority,
            "sessionId": session,
            "redeliver": "afterAck" if redeliver_after_ack else None,
        }
    except ValueError as error:
        raise usage(str(error)) from None
    return {name: value for name, value in given.items() if value is not None}
