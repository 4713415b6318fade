"""What a report must do to its command, and must not: the agents' protocol, written a second time and independently."""

from dataclasses import replace

from tests.simulation.history import AgentReport, CommandRow, Resumption

_UNDER_WAY = ("sent", "acknowledged")
_GUESSED = ("timed_out", "dead", "expired", "cancelled")
"""Ends that a real result replaces: after an attempt, and `cancelled` unless the agent confirmed it."""


def expected_status(report: AgentReport, before: CommandRow) -> str:
    """Return the status that a report leads to; what it says counts in the written order."""
    if not report.admitted or before.incarnation not in {None, report.incarnation}:
        return before.status
    row = before
    for kind in report.kinds:
        row = replace(row, status=_after(kind, report, row))
        if row.status == "cancelled" and kind == "cancelled":
            row = replace(row, cancel_confirmed=True)
        elif row.status == "pending" and kind == "retry":
            row = replace(row, given_up=row.attempt)
    return row.status


def _after(kind: str, report: AgentReport, before: CommandRow) -> str:
    """Return the status after one report.

    A report of an older attempt does not count for the last one; but a real result counts.
    """
    of_last_attempt = (
        report.attempt == before.attempt if report.attempt is not None else (before.epoch or 0) <= report.epoch
    )
    tried = before.attempt > 0
    accepts_results = tried and (
        before.status in ("pending", *_UNDER_WAY) or (before.status in _GUESSED and not before.cancel_confirmed)
    )
    is_wanted = kind == "failed" or before.status != "pending"
    attempts_left = before.attempt < before.max_attempts and not before.cancel_requested
    said_before = (report.attempt or before.attempt) <= before.given_up
    if kind == "retry" and not (before.status in _UNDER_WAY and of_last_attempt and attempts_left):
        kind = "said before" if said_before else "failed"
    match kind:
        case "retry":
            return "pending"
        case "ack" if before.attempt > before.given_up and of_last_attempt and before.status in ("pending", "sent"):
            return "acknowledged"
        case "complete" if accepts_results:
            return "completed"
        case "failed" if accepts_results and is_wanted and (of_last_attempt or before.status not in _UNDER_WAY):
            return "failed"
        case "cancelled" if of_last_attempt and (
            (before.cancel_requested and before.status in _UNDER_WAY) or before.status == "timed_out"
        ):
            return "cancelled"
        case _:
            return before.status


def expected_after_resumption(said: Resumption, before: CommandRow) -> str:
    """Return the status of one of the agent's commands after it has said what it executes."""
    if not said.current or not said.admitted or before.incarnation not in {None, said.incarnation}:
        return before.status
    if before.command_id in said.running:
        is_last = said.running[before.command_id] == before.attempt > before.given_up
        return (
            "acknowledged" if is_last and before.attempt > 0 and before.status in ("pending", "sent") else before.status
        )
    if before.status != "acknowledged" or (before.epoch or 0) >= said.epoch:
        return before.status
    if before.cancel_requested:
        return "cancelled"
    return "pending" if before.redeliver_after_ack and before.attempt < before.max_attempts else "timed_out"
