"""Deliver webhooks: tell webhooks of the events that are due.  Runs each minute, for a minute if there is a webhook."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import correlation, database, settings
from dispatcher.platform.observability import add_figures, deadline_of, logged, metrics
from dispatcher.webhooks import webhook_queue
from dispatcher.webhooks.webhook_run import run


@logged
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, float]:
    """Deliver until the time is up; two runs at the same time do no harm."""
    del event
    correlation.begin()
    with database.connect() as conn:
        ran = asdict(run(conn, settings.webhook_key(), deadline=deadline_of(context)))
        figures = ran | asdict(webhook_queue.figures(conn))
    add_figures(figures)
    return figures
