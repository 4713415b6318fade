"""The reference agent decodes and encodes both protocols."""

import json
from typing import Any

import pytest

from examples.reference_agent.wire_format import (
    FRAME_BYTES,
    MESSAGE_BYTES,
    Cancel,
    Command,
    FirstProtocol,
    Ignored,
    Notice,
    Outgoing,
    Ping,
    Report,
    SecondProtocol,
    fragments,
)


def report(kind: str, command_id: str, attempt: int = 1, body: Any = None) -> Report:
    """Make a report."""
    return Report(kind=kind, command_id=command_id, attempt=attempt, body=body)


@pytest.mark.parametrize(
    ("outgoing", "message"),
    [
        (report("ack", "c"), {"type": "ack", "payload": {"commandId": "c"}}),
        (report("complete", "c", 1, {"n": 1}), {"type": "complete", "payload": {"commandId": "c", "result": {"n": 1}}}),
        (report("failed", "c", 1, "why"), {"type": "failed", "payload": {"commandId": "c", "error": "why"}}),
        (Notice(type="status", payload={"sessionId": "s"}), {"type": "status", "payload": {"sessionId": "s"}}),
        (Notice(type="pong"), {"type": "pong"}),
        (report("progress", "c"), None),
        (report("cancelled", "c"), None),
    ],
)
def test_protocol_1_sends_one_item_in_a_message(outgoing: Outgoing, message: object) -> None:
    """It has no message for progress and cancelled."""
    text, count = FirstProtocol().encode([outgoing, report("ack", "d")])

    assert (None if text is None else json.loads(text)) == message
    assert count == 1


def test_protocol_2_sends_all_reports_before_a_notice_in_one_message() -> None:
    """In the order in which they happened."""
    outgoing: list[Outgoing] = [
        report("ack", "c", 3),
        report("complete", "c", 3, {"n": 1}),
        report("cancelled", "d", 2),
        Notice(type="pong"),
        report("ack", "e"),
    ]

    text, count = SecondProtocol(32).encode(outgoing)

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
    """Reports without room wait for the next message."""
    outgoing = [report("complete", f"c-{number}", 1, "é" * 5000) for number in range(10)]

    text, count = SecondProtocol(32).encode(outgoing)

    assert text is not None
    assert 0 < count < 10
    assert MESSAGE_BYTES - 40_000 < len(text.encode()) <= MESSAGE_BYTES
    pieces = fragments(text)
    assert max(len(piece.encode()) for piece in pieces) == FRAME_BYTES
    assert "".join(pieces) == text


@pytest.mark.parametrize("protocol", [FirstProtocol(), SecondProtocol(1)])
@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", "17", "{}", '{"type": 17}', '{"type": "future_type"}', "[" * 100_000, b"\xff"),
        *('{"type": "command"}', '{"type": "command", "payload": {"commandId": 1}}'),
        *('{"type": "commands", "commands": {}}', '{"type": "commands", "commands": [7]}', '{"type": "cancel"}'),
        '{"type": "commands", "commands": [{"commandId": "c", "attempt": "1"}]}',
    ],
)
def test_a_meaningless_message_is_ignored(protocol: FirstProtocol | SecondProtocol, text: str | bytes) -> None:
    """Decoding never raises."""
    assert [type(received) for received in protocol.decode(text)] == [Ignored]


def test_commands_cancels_and_pings_are_decoded() -> None:
    """Unknown fields are ignored."""
    entries = [
        {"commandId": "c", "attempt": 3, "action": "a", "payload": {"k": 1}, "futureField": 1},
        {"commandId": "d", "payload": None},
    ]

    assert SecondProtocol(1).decode(json.dumps({"type": "commands", "commands": entries, "futureField": 1})) == [
        Command(command_id="c", attempt=3, action="a", payload={"k": 1}),
        Command(command_id="d"),
    ]
    assert SecondProtocol(1).decode('{"type": "cancel", "commandId": "c", "attempt": 1}') == [Cancel(command_id="c")]
    assert FirstProtocol().decode('{"type": "command", "payload": {"commandId": "c", "action": "a"}}') == [
        Command(command_id="c", action="a")
    ]
    assert FirstProtocol().decode('{"type": "ping"}') == [Ping()]
    assert SecondProtocol(1).decode('{"type": "ping"}') == [Ping()]
