"""The loss check (not the audit log): checks the invariants on the live rows, publishes metrics.  Runs every five minutes."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.commands import findings
from dispatcher.commands.latencies import sample as latencies_of
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.platform import correlation, database
from dispatcher.platform.observability import add_figures, logged, logger, metrics


@logged
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, float]:
    """Check once and return the metrics; `lost_commands` and the other counts of broken invariants must be 0."""
    del event, context
    correlation.begin()
    with database.connect() as conn:
        report = check_for_loss(conn)
        new = findings.record(conn, report)
        latencies = latencies_of(conn)
    for finding in report.findings:
        if finding.offenders:
            logger.error(
                "Invariant broken",
                extra={"check": finding.check, "offenders": finding.offenders, "some": finding.some},
            )
    figures = {finding.check: float(finding.offenders) for finding in report.findings} | dict(report.figures) | new
    add_figures(figures)
    for name, seconds in latencies.items():
        for value in seconds:
            metrics.add_metric(name=name, unit="Seconds", value=value)
    return figures
