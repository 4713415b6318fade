"""Publisher: puts the events of the change feed on an EventBridge bus.  Runs each minute, if there is a bus."""

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.events.publisher import publish
from dispatcher.platform import correlation, database
from dispatcher.platform.event_bus import EventBridge
from dispatcher.platform.observability import add_figures, deadline_of, logged, metrics


@logged
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:
    """Publish what there is; two runs at the same time do no harm."""
    del event
    correlation.begin()
    with database.connect() as conn:
        published = asdict(publish(conn, EventBridge.from_environment(), deadline=deadline_of(context)))
    add_figures(published)
    return published
