"""Sweeper: periodic maintenance, and delivery of every due command.  Runs each minute."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.claims import Shard
from dispatcher.commands.sweep import invoke_others, sweep
from dispatcher.platform import correlation, database, settings
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import add_figures, deadline_of, logged, metrics


@logged
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep a shard, the first one if the event names none; the first one invokes this function for the others."""
    correlation.begin()
    shard = Shard(number=event.get("shard", 0), of=settings.sweep_shards())
    if not shard.number:
        invoke_others(context.invoked_function_arn, shard.of)
    with database.connect() as conn:
        swept = asdict(sweep(conn, ApiGateway.from_environment(), deadline=deadline_of(context), shard=shard))
    add_figures(swept)
    return swept
