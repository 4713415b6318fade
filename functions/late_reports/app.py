"""Late reports: settle what agents reported while the database could not be reached."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Settle a batch of reports of the queue LateReports."""
    raise NotImplementedError
