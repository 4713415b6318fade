"""Decoding: what an agent sends is taken for what JSON says it is."""

import json
from typing import Any

import pytest

from dispatcher.platform.json_text import READABLE_DEPTH
from dispatcher.protocol.decoding import (
    BadFrame,
    Confirm,
    Heartbeat,
    Report,
    Resume,
    decode,
)


@pytest.mark.parametrize("attempt", [True, False, 0, -1, 2**31, 1.5, "1", []], ids=repr)
def test_an_attempt_that_is_no_number_from_1_is_a_bad_report(attempt: Any) -> None:
    """I11: one bad report must not stop the others of its message, as a type that PostgreSQL refuses would."""
    reports = [{"kind": "ack", "commandId": "k1", "attempt": each} for each in (attempt, 1)]

    bad, good = decode(json.dumps({"type": "reports", "reports": reports}))

    assert isinstance(bad, BadFrame)
    assert good == Report("ack", "k1", 1)


@pytest.mark.parametrize("sessions", [True, -1, 2**31, "2", None], ids=repr)
def test_a_number_of_sessions_that_cannot_be_stored_is_left_out(sessions: Any) -> None:
    """The heartbeat itself counts."""
    assert decode(json.dumps({"type": "heartbeat", "activeSessions": sessions})) == [Heartbeat()]


def test_the_id_of_a_message_is_confirmed_before_its_reports() -> None:
    """Any text of up to 64 characters."""
    report = {"kind": "ack", "commandId": "k1", "attempt": 1}

    decoded = decode(json.dumps({"type": "reports", "id": "é" * 64, "reports": [report]}))

    assert decoded == [Confirm(message_id="é" * 64), Report("ack", "k1", 1)]


def test_a_resume_with_an_id_is_to_be_confirmed() -> None:
    """Its agent says nothing else before, because messages are settled several at a time."""
    decoded = decode('{"type": "resume", "id": "7", "running": [{"commandId": "k1", "attempt": 1}]}')

    assert decoded == [Confirm(message_id="7"), Resume(running=(("k1", 1),))]


@pytest.mark.parametrize("message_id", ["", "x" * 65, 7, ["x"], {}, True, "a\0b", "\ud800"], ids=repr)
def test_an_id_that_cannot_be_confirmed_is_reported_and_the_reports_count(message_id: Any) -> None:
    """I11: the agent says them again, which does no harm."""
    report = {"kind": "ack", "commandId": "k1", "attempt": 1}

    bad, good = decode(json.dumps({"type": "reports", "id": message_id, "reports": [report]}))

    assert isinstance(bad, BadFrame)
    assert good == Report("ack", "k1", 1)


def test_a_resume_names_commands_with_or_without_their_attempts() -> None:
    """An empty list means that nothing is running."""
    running = [{"commandId": "k1", "attempt": 2}, {"commandId": "k2"}]

    assert decode(json.dumps({"type": "resume", "running": running})) == [Resume(running=(("k1", 2), ("k2", None)))]
    assert decode('{"type": "resume", "running": []}') == [Resume(running=())]


NO_LISTS_OF_COMMANDS: list[Any] = [
    None,
    {},
    "k1",
    ["k1"],
    [{}],
    [{"commandId": 1}],
    [{"commandId": "k1", "attempt": 0}],
    [{}] * 1001,
]


@pytest.mark.parametrize("running", NO_LISTS_OF_COMMANDS, ids=str)
def test_a_resume_that_cannot_be_understood_is_refused_as_a_whole(running: Any) -> None:
    """Otherwise a command that is running would be taken for lost."""
    with pytest.raises(BadFrame):
        decode(json.dumps({"type": "resume", "running": running}))


def test_a_value_that_is_nested_too_deeply_becomes_its_text_whatever_its_texts_hold() -> None:
    """Its brackets within texts, read without their quotes, would close each array as soon as it opens."""
    levels = READABLE_DEPTH + 1
    nested = '["]",' * levels + "0" + ',"["]' * levels

    [completed] = decode(f'{{"type": "complete", "commandId": "k1", "result": {{"nested": {nested}}}}}')

    assert completed == Report("complete", "k1", value={"nested": nested})


def test_documents_that_are_joined_by_a_newline_are_all_read() -> None:
    """D11: also with blank lines; a newline in a string is none."""
    ack = json.dumps({"type": "ack", "payload": {"commandId": "k1"}})
    result = json.dumps({"type": "complete", "payload": {"commandId": "k1", "result": "a\nb"}})

    decoded = decode(f"{ack}\n\n{result}\r\n")

    assert decoded == [Report("ack", "k1"), Report("complete", "k1", value="a\nb")]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        ({"code": 7, "é": None}, '{"code":7,"é":null}'),
        ([1], "[1]"),
        (0, "0"),
        (False, "false"),
        ("", "the agent gave no reason"),
        ({}, "the agent gave no reason"),
        (None, "the agent gave no reason"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
    ],
)
@pytest.mark.parametrize("shape", ["failed", "command_error", "command_response", "reports"])
def test_an_error_of_any_json_type_is_kept_as_text(shape: str, error: Any, kept: str) -> None:
    """D10: an object, a list or a number was "no reason"."""
    fields = {"commandId": "k1", "sessionId": "s1", "error": error}
    body: dict[str, Any] = {"type": shape, **fields}
    if shape == "reports":
        body["reports"] = [{"kind": "failed", **fields}]

    (failure,) = decode(json.dumps(body))

    assert isinstance(failure, Report)
    assert failure.kind in {"failed", "answer_failed"}
    assert failure.error == kept
