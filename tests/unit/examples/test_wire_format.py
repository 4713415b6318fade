"""The demonstration agent's two protocols and its ledger: values in, values out."""

import json
from typing import Any

import pytest

from examples.reference_agent.ledger import Ledger, Outcome
from examples.reference_agent.vocabulary import (
    FRAME_BYTES,
    MESSAGE_BYTES,
    Cancel,
    Command,
    First,
    Ignored,
    Notice,
    Outgoing,
    Ping,
    Report,
    Second,
    fragments,
)

DONE = Outcome(kind="complete", body={"state": "running"})


def command(command_id: str, attempt: int = 1) -> Command:
    """Make a command."""
    return Command(command_id=command_id, attempt=attempt, action="start_session")


def report(kind: str, command_id: str, attempt: int = 1, body: Any = None) -> Report:
    """Make a report."""
    return Report(kind=kind, command_id=command_id, attempt=attempt, body=body)


def test_commands_run_one_after_the_other_and_report_in_the_attempt_they_came_in() -> None:
    """Ack when its turn has come, end when it has ended."""
    ledger = Ledger()
    said = [*ledger.receive(command("a", 2)), *ledger.receive(command("b"))]

    assert said == []
    assert ledger.begin() == (command("a", 2), report("ack", "a", 2))
    assert ledger.end(DONE) == report("complete", "a", 2, DONE.body)
    assert ledger.begin() == (command("b"), report("ack", "b"))
    assert ledger.end(Outcome(kind="failed", body="why")) == report("failed", "b", 1, "why")
    assert ledger.begin() is None


def test_a_command_that_comes_again_while_it_waits_runs_once_in_its_place() -> None:
    """In the newer attempt."""
    ledger = Ledger()
    for delivery in (command("a"), command("b"), command("a", 2)):
        assert ledger.receive(delivery) == []

    assert ledger.begin() == (command("a", 2), report("ack", "a", 2))
    ledger.end(DONE)
    assert ledger.begin() == (command("b"), report("ack", "b"))


def test_a_command_that_comes_again_while_it_runs_is_acknowledged_and_goes_on() -> None:
    """Its end names the newer attempt."""
    ledger = Ledger()
    ledger.receive(command("a"))
    ledger.begin()

    assert ledger.receive(command("a", 2)) == [report("ack", "a", 2)]
    assert ledger.progress({"percent": 40}) == report("progress", "a", 2, {"percent": 40})
    assert ledger.end(DONE) == report("complete", "a", 2, DONE.body)
    assert ledger.begin() is None


def test_a_command_that_comes_again_after_its_end_is_answered_with_that() -> None:
    """As long as it is remembered."""
    ledger = Ledger(remembered=1)
    for command_id in ("a", "b"):
        ledger.receive(command(command_id))
        ledger.begin()
        ledger.end(DONE)

    assert ledger.receive(command("b", 2)) == [report("ack", "b", 2), report("complete", "b", 2, DONE.body)]
    assert ledger.receive(command("a", 2)) == []
    assert ledger.begin() == (command("a", 2), report("ack", "a", 2))


def test_only_a_command_that_waits_is_cancelled() -> None:
    """One that runs goes on; one that is not known needs no answer."""
    ledger = Ledger()
    for command_id in ("a", "b"):
        ledger.receive(command(command_id))
    ledger.begin()

    assert ledger.cancel("b") == [report("cancelled", "b")]
    assert (ledger.cancel("a"), ledger.cancel("b"), ledger.cancel("none")) == ([], [], [])
    assert ledger.end(DONE) == report("complete", "a", 1, DONE.body)
    assert ledger.receive(command("b", 2)) == [report("ack", "b", 2), report("cancelled", "b", 2)]


def test_the_first_protocol_has_a_message_for_each_report() -> None:
    """As StreamSpace's k8s agent writes them; for progress it has none."""
    first = First()
    stamp = "2026-11-23T12:00:00Z"

    ack = first.encode([report("ack", "c"), report("ack", "d")], stamp)
    assert ack == ('{"payload": {"commandId": "c"}, "timestamp": "2026-11-23T12:00:00Z", "type": "ack"}', 1)
    assert first.encode([report("progress", "c")], stamp) == (None, 1)
    assert first.encode([Notice(type="status", payload={}, stamped=False)], stamp) == (
        '{"payload": {}, "type": "status"}',
        1,
    )


def test_the_second_protocol_sends_all_reports_up_to_a_notice_in_one_message() -> None:
    """In the order in which they happened."""
    outgoing: list[Outgoing] = [
        *(report("ack", "c", 3), report("complete", "c", 3, {"n": 1}), report("cancelled", "d", 2)),
        *(Notice(type="pong"), report("ack", "e")),
    ]

    text, count = Second(32).encode(outgoing, "now")

    assert count == 3
    assert json.loads(text or "") == {
        "type": "reports",
        "reports": [
            {"kind": "ack", "commandId": "c", "attempt": 3},
            {"kind": "complete", "commandId": "c", "attempt": 3, "result": {"n": 1}},
            {"kind": "cancelled", "commandId": "d", "attempt": 2},
        ],
    }


def test_no_message_and_no_fragment_is_too_large() -> None:
    """Reports that do not fit wait for the next message."""
    outgoing = [report("complete", f"c-{number}", 1, "é" * 5000) for number in range(10)]

    text, count = Second(32).encode(outgoing, "now")

    assert text is not None
    assert 0 < count < 10
    assert MESSAGE_BYTES - 40_000 < len(text.encode()) <= MESSAGE_BYTES
    pieces = fragments(text)
    assert max(len(piece.encode()) for piece in pieces) == FRAME_BYTES
    assert "".join(pieces) == text


@pytest.mark.parametrize("dialect", [First(), Second(1)])
@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "17", "{}", '{"type": 17}', '{"type": "novelty"}', "[" * 100_000, b"\xff"),
        *('{"type": "command"}', '{"type": "command", "payload": {"commandId": 1}}'),
        *('{"type": "commands", "commands": {}}', '{"type": "commands", "commands": [7]}', '{"type": "cancel"}'),
        '{"type": "commands", "commands": [{"commandId": "c", "attempt": "1"}]}',
    ],
)
def test_what_means_nothing_is_ignored(dialect: First | Second, text: str | bytes) -> None:
    """And told in the log."""
    assert [type(received) for received in dialect.decode(text)] == [Ignored]


def test_commands_cancels_and_pings_are_understood() -> None:
    """With unknown fields among those that are known."""
    listed = [
        {"commandId": "c", "attempt": 3, "action": "a", "payload": {"k": 1}, "novelty": 1},
        {"commandId": "d", "payload": None},
    ]

    assert Second(1).decode(json.dumps({"type": "commands", "commands": listed, "novelty": 1})) == [
        Command(command_id="c", attempt=3, action="a", payload={"k": 1}),
        Command(command_id="d"),
    ]
    assert Second(1).decode('{"type": "cancel", "commandId": "c", "attempt": 1}') == [Cancel(command_id="c")]
    assert First().decode('{"type": "command", "payload": {"commandId": "c", "action": "a"}}') == [
        Command(command_id="c", action="a")
    ]
    assert First().decode('{"type": "ping"}') == Second(1).decode('{"type": "ping"}') == [Ping()]
