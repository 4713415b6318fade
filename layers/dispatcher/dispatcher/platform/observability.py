"""Logs and metrics: one line for each outcome, with fields; never payloads, keys or tokens."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import correlation

E = TypeVar("E")
R = TypeVar("R")


class _Invocation:
    """The invocation that is under way: a process has one at a time."""

    context: LambdaContext | None = None
    number = 0


def logged(handler: Callable[[E, LambdaContext], R]) -> Callable[[E, LambdaContext], R]:
    """Have the lines of the log name the function and the invocation, in the fields of Powertools' inject_lambda_context.

    They are put together for a line, not for each invocation: most invocations of agents' messages write none.
    """

    @wraps(handler)
    def logged_handler(event: E, context: LambdaContext) -> R:
        _Invocation.context = context
        _Invocation.number += 1
        return handler(event, context)

    return logged_handler


class _Formatter(LambdaPowertoolsFormatter):
    """Adds to a line what is known of the invocation."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a line."""
        self.append_keys(**_fields())
        return super().format(record)


def _fields() -> dict[str, Any]:
    context = _Invocation.context
    if context is None:
        return {"correlation_id": correlation.current()}
    is_warm = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "provisioned-concurrency"
    return {
        "cold_start": _Invocation.number == 1 and not is_warm,
        "function_name": context.function_name,
        "function_memory_size": context.memory_limit_in_mb,
        "function_arn": context.invoked_function_arn,
        "function_request_id": context.aws_request_id,
        "correlation_id": correlation.current(),
    }


# POWERTOOLS_SERVICE_NAME is the stack's name, so that two stacks in one account do not mix their metrics.
logger = Logger(logger_formatter=_Formatter(use_rfc3339=True, utc=True))
metrics = Metrics(namespace="AgentCommandDispatcher")


def add_figures(figures: Mapping[str, float]) -> None:
    """Add figures to this invocation's metrics: seconds if the name ends with `_seconds`, counts otherwise."""
    for name, value in figures.items():
        metrics.add_metric(name=name, unit="Seconds" if name.endswith("_seconds") else "Count", value=value)


def is_debugging() -> bool:
    """Tell whether lines of the level DEBUG are written; some need what the database does not tell otherwise."""
    return logger.log_level <= logging.DEBUG


def deadline_of(context: LambdaContext) -> Callable[[], float]:
    """Return a function that returns how many seconds this invocation has left."""
    return lambda: context.get_remaining_time_in_millis() / 1000
