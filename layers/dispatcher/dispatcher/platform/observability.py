"""Logs and metrics: one line for each outcome, with fields; never payloads, keys or tokens."""

import logging
from collections.abc import Callable

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

# POWERTOOLS_SERVICE_NAME is the stack's name, so that two stacks in one account do not mix their metrics.
logger = Logger(use_rfc3339=True, utc=True)
metrics = Metrics(namespace="AgentCommandDispatcher")


def is_debugging() -> bool:
    """Tell whether lines of the level DEBUG are written; some need what the database does not tell otherwise."""
    return logger.log_level <= logging.DEBUG


def deadline_of(context: LambdaContext) -> Callable[[], float]:
    """Return a function that returns how many seconds this invocation has left."""
    return lambda: context.get_remaining_time_in_millis() / 1000
