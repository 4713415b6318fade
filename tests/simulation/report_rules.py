"""What a report must do to its command, and must not: the agents' protocol, written a second time and independently."""

from tests.simulation.history import AgentReport, CommandRow

_UNDER_WAY = ("sent", "acknowledged")


def expected_status(report: AgentReport, before: CommandRow) -> str:
    """Return the status that a report leads to.

    A report of an older attempt does not count for the last one; but a real result counts.
    """
    of_last_attempt = (
        report.attempt == before.attempt if report.attempt is not None else (before.epoch or 0) <= report.epoch
    )
    tried = before.attempt > 0
    accepts_results = tried and before.status in ("pending", *_UNDER_WAY, "timed_out")
    kind = report.kind
    if kind == "retry":
        attempts_left = before.attempt < before.max_attempts and not before.cancel_requested
        if before.status in _UNDER_WAY and of_last_attempt and attempts_left:
            return "pending"
        kind = "failed"
    match kind:
        case "ack" if tried and of_last_attempt and before.status in ("pending", "sent"):
            return "acknowledged"
        case "complete" if accepts_results:
            return "completed"
        case "failed" if accepts_results and (of_last_attempt or before.status not in _UNDER_WAY):
            return "failed"
        case "cancelled" if before.cancel_requested and of_last_attempt and before.status in _UNDER_WAY:
            return "cancelled"
        case _:
            return before.status
