"""Release check: what this release needs is there: its schema, its functions in the database, its way to agents."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import database, releases
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logged


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, object]:
    """Check as the functions' role; fails with the reasons."""
    del event, context
    with database.connect() as conn:
        return releases.check(conn, ApiGateway.from_environment().obstacle)
