"""The log: a line names the function and the invocation that wrote it, and the request behind it."""

import json
import logging
from dataclasses import dataclass
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import correlation
from dispatcher.platform.observability import logged, logger


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What Lambda tells of an invocation."""

    aws_request_id: str
    function_name: str = "message"
    memory_limit_in_mb: str = "512"
    invoked_function_arn: str = "arn:message"


@logged
def handler(event: str, _context: LambdaContext) -> str:
    """Write a line."""
    correlation.resume(event)
    logger.warning("Something happened", extra={"agent_id": "a"})
    return event


def test_a_line_names_the_invocation_that_wrote_it_and_its_request(caplog: pytest.LogCaptureFixture) -> None:
    """In the fields of Powertools; so one search finds all lines of an invocation, and all of a request."""
    lines: list[dict[str, Any]] = []

    for number in range(2):
        assert (
            handler(f"{number}" * 32, cast("LambdaContext", Context(aws_request_id=f"id-{number}"))) == f"{number}" * 32
        )
        lines.append(_written(caplog.records[-1]))

    names = (
        "function_name",
        "function_memory_size",
        "function_arn",
        "agent_id",
        "function_request_id",
        "correlation_id",
    )
    assert [tuple(line.get(name) for name in names) for line in lines] == [
        ("message", "512", "arn:message", "a", "id-0", "0" * 32),
        ("message", "512", "arn:message", "a", "id-1", "1" * 32),
    ]
    assert lines[1]["cold_start"] is False


def _written(record: logging.LogRecord) -> dict[str, Any]:
    formatter = logger.registered_handler.formatter
    assert formatter is not None
    return cast("dict[str, Any]", json.loads(formatter.format(record)))
