"""Release gate: CodeDeploy asks it before a release gets traffic; it asks the release check, and reports the outcome."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.platform import releases, settings
from dispatcher.platform.observability import logged


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Answer a lifecycle event of CodeDeploy."""
    del context
    return {"status": releases.decide(event, settings.release_check_function())}
