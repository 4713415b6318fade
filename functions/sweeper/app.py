"""Sweeper: periodic maintenance, and delivery of every due command.  Runs each minute."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.sweep import sweep
from dispatcher.platform import correlation, database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logger, metrics


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once; two sweeps at the same time do no harm."""
    del event
    correlation.begin()
    with database.connect() as conn:
        swept = asdict(sweep(conn, ApiGateway.from_environment(), deadline=deadline_of(context)))
    for name, count in swept.items():
        metrics.add_metric(name=name, unit="Count", value=count)
    return swept
