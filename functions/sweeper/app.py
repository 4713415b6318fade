"""Sweeper: periodic maintenance, and delivery of every due command.  Runs each minute."""

import json
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.claims import Shard
from dispatcher.commands.sweep import sweep, sweep_shard
from dispatcher.platform import correlation, database, lambda_api, settings
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import add_figures, deadline_of, logged, logger, metrics


@logged
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Sweep once, and invoke this function for each further shard; two sweeps at the same time do no harm."""
    correlation.begin()
    shards, number = settings.sweep_shards(), event.get("shard", 0)
    gateway, deadline, shard = ApiGateway.from_environment(), deadline_of(context), Shard(number=number, of=shards)
    if not number:
        for other in range(1, shards):
            reason = lambda_api.invoke_event(context.invoked_function_arn, json.dumps({"shard": other}).encode())
            if reason is not None:
                logger.warning("Shard not swept", extra={"shard": other, "reason": reason})
    with database.connect() as conn:
        done = (
            sweep_shard(conn, gateway, shard, deadline=deadline)
            if number
            else sweep(conn, gateway, deadline=deadline, shard=shard)
        )
    swept = asdict(done)
    add_figures(swept)
    return swept
