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
    traces = ["a" * 32, "b" * 32]

    for number, trace in enumerate(traces):
        assert handler(trace, cast("LambdaContext", Context(aws_request_id=f"id-{number}"))) == trace
        line = _written(caplog.records[-1])
        told = {name: line.get(name) for name in ("function_name", "function_memory_size", "function_arn", "agent_id")}
        assert told == {
            "function_name": "message",
            "function_memory_size": "512",
            "function_arn": "arn:message",
            "agent_id": "a",
        }
        assert (line["function_request_id"], line["correlation_id"]) == (f"id-{number}", trace)

    assert line["cold_start"] is False


def _written(record: logging.LogRecord) -> dict[str, Any]:
    formatter = logger.registered_handler.formatter
    assert formatter is not None
    return cast("dict[str, Any]", json.loads(formatter.format(record)))
