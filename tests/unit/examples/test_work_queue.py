"""The reference agent's queue executes each command once, in order, and answers each delivery."""

from typing import Any

from examples.reference_agent.wire_format import Command, Report
from examples.reference_agent.work_queue import End, WorkQueue

DONE = End(kind="complete", body={"state": "running"})


def command(command_id: str, attempt: int = 1) -> Command:
    """Make a command."""
    return Command(command_id=command_id, attempt=attempt, action="start_session")


def report(kind: str, command_id: str, attempt: int = 1, body: Any = None) -> Report:
    """Make a report."""
    return Report(kind=kind, command_id=command_id, attempt=attempt, body=body)


def test_commands_run_in_order_and_their_reports_have_their_attempt() -> None:
    """The ack is returned when a command begins."""
    queue = WorkQueue()
    assert [*queue.receive(command("a", 2)), *queue.receive(command("b"))] == []

    assert queue.begin() == (command("a", 2), report("ack", "a", 2))
    assert queue.end(DONE) == report("complete", "a", 2, DONE.body)
    assert queue.begin() == (command("b"), report("ack", "b"))
    assert queue.end(End(kind="failed", body="why")) == report("failed", "b", 1, "why")
    assert queue.begin() is None


def test_a_waiting_command_that_is_delivered_again_keeps_its_place() -> None:
    """It runs once, with the newer attempt."""
    queue = WorkQueue()
    for delivery in (command("a"), command("b"), command("a", 2)):
        assert queue.receive(delivery) == []

    assert queue.begin() == (command("a", 2), report("ack", "a", 2))
    queue.end(DONE)
    assert queue.begin() == (command("b"), report("ack", "b"))


def test_a_running_command_that_is_delivered_again_is_acknowledged() -> None:
    """It is not executed again, and its later reports have the newer attempt."""
    queue = WorkQueue()
    queue.receive(command("a"))
    queue.begin()

    assert queue.receive(command("a", 2)) == [report("ack", "a", 2)]
    assert queue.progress({"percent": 40}) == report("progress", "a", 2, {"percent": 40})
    assert queue.end(DONE) == report("complete", "a", 2, DONE.body)
    assert queue.begin() is None


def test_an_ended_command_that_is_delivered_again_gets_its_first_end() -> None:
    """Only a forgotten one is executed again."""
    queue = WorkQueue(remembered=1)
    for command_id in ("a", "b"):
        queue.receive(command(command_id))
        queue.begin()
        queue.end(DONE)

    assert queue.receive(command("b", 2)) == [report("ack", "b", 2), report("complete", "b", 2, DONE.body)]
    assert queue.receive(command("a", 2)) == []
    assert queue.begin() == (command("a", 2), report("ack", "a", 2))


def test_only_a_waiting_command_is_cancelled() -> None:
    """A running one goes on, an unknown one needs no answer."""
    queue = WorkQueue()
    for command_id in ("a", "b"):
        queue.receive(command(command_id))
    queue.begin()

    assert queue.cancel("b") == [report("cancelled", "b")]
    assert [queue.cancel(command_id) for command_id in ("a", "b", "none")] == [[], [], []]
    assert queue.end(DONE) == report("complete", "a", 1, DONE.body)
    assert queue.receive(command("b", 2)) == [report("ack", "b", 2), report("cancelled", "b", 2)]
