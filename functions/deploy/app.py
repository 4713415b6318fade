"""Deploy: has the schema migrated before new code serves, and tells CloudFormation what came of it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import deployment
from dispatcher.platform.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Answer a custom resource's event; CloudFormation gets an answer in any case, or the deployment would hang."""
    del context
    return deployment.answer(event)
