"""Audit: what must always hold, checked on the live rows and published as metrics.  Runs every five minutes."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands.loss_check import audit
from dispatcher.platform import database
from dispatcher.platform.observability import logger, metrics


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, float]:
    """Audit once; `lost_commands` and its like are 0, or somebody has to look."""
    del event, context
    with database.connect() as conn:
        found = audit(conn)
    for finding in found.findings:
        if finding.offenders:
            logger.error(
                "Promise broken", extra={"check": finding.check, "offenders": finding.offenders, "some": finding.some}
            )
    figures = {finding.check: float(finding.offenders) for finding in found.findings} | dict(found.figures)
    for name, value in figures.items():
        metrics.add_metric(name=name, unit="Seconds" if name.endswith("_seconds") else "Count", value=value)
    return figures
