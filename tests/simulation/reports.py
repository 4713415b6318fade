"""What a report of an agent must do to its command, and must not: the agents' protocol, as a table of its own."""

from typing import Protocol

from tests.simulation.record import Row, Told

_ALIVE = ("pending", "sent", "acknowledged")
_UNDER_WAY = ("sent", "acknowledged")


class Checking(Protocol):
    """Checks one thing."""

    def __call__(self, sentence: str, *, holds: bool) -> None:
        """Check it."""
        ...


def check_report(told: Told, before: Row, check: Checking) -> None:
    """Check that a report of the command's own agent did what it must, and nothing else."""
    expected = expected_status(told, before)
    after = told.after.status if told.after else None
    name = f"{told.kind} of {told.command_id} (attempt {told.attempt}, epoch {told.epoch}) on {before}"
    if told.certain:
        check(f"{name}: it is {after}, not {expected}", holds=after == expected)
    else:
        check(f"{name}: it is {after}", holds=after in {expected, before.status})


def expected_status(told: Told, before: Row) -> str:
    """Tell where a report leads: one of an older attempt settles nothing, but a result that is genuine counts."""
    of_last = told.attempt == before.attempt if told.attempt is not None else (before.epoch or 0) <= told.epoch
    tried = before.attempt > 0
    open_to_results = tried and before.status in (*_ALIVE, "timed_out")
    kind = told.kind
    if kind == "retry":
        again = before.attempt < before.max_attempts and not before.cancel_requested
        if before.status in _UNDER_WAY and of_last and again:
            return "pending"
        kind = "failed"
    match kind:
        case "ack" if tried and of_last and before.status in ("pending", "sent"):
            return "acknowledged"
        case "complete" if open_to_results:
            return "completed"
        case "failed" if open_to_results and (of_last or before.status not in _UNDER_WAY):
            return "failed"
        case "cancelled" if before.cancel_requested and of_last and before.status in _UNDER_WAY:
            return "cancelled"
        case _:
            return before.status
