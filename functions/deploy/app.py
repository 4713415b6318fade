"""Deploy: migrate the schema before new code serves, and report the outcome to CloudFormation."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import deployment
from dispatcher.platform.observability import logged


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Answer a custom resource's event; CloudFormation always gets a report, or the deployment would hang."""
    del context
    return deployment.answer(event)
