"""Late reports: settle what agents said while the database could not be reached.  Invoked by the queue that kept it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import conversation, late_reports
from dispatcher.platform import correlation
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logged
from dispatcher.sessions.session_records import SessionStates


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Settle a batch; what could not be settled comes again, in order."""
    correlation.begin()
    kept = late_reports.kept_of(event)
    again = conversation.handle_kept(kept, ApiGateway.from_environment(), SessionStates(), deadline_of(context))
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in again]}
