"""Decoding: what an agent sends is taken for what JSON says it is."""

import json
from typing import Any

import pytest

from dispatcher.protocol.decoding import Ack, BadFrame, Heartbeat, decode


@pytest.mark.parametrize("attempt", [True, False, 0, -1, 2**31, 1.5, "1", []], ids=repr)
def test_an_attempt_that_is_no_number_from_1_is_a_bad_report(attempt: Any) -> None:
    """I11: one bad report must not stop the others of its message, as a type that PostgreSQL refuses would."""
    reports = [{"kind": "ack", "commandId": "k1", "attempt": each} for each in (attempt, 1)]

    bad, good = decode(json.dumps({"type": "reports", "reports": reports}))

    assert isinstance(bad, BadFrame)
    assert good == Ack(command_id="k1", attempt=1)


@pytest.mark.parametrize("sessions", [True, -1, 2**31, "2", None], ids=repr)
def test_a_number_of_sessions_that_cannot_be_stored_is_left_out(sessions: Any) -> None:
    """The heartbeat itself counts."""
    assert decode(json.dumps({"type": "heartbeat", "activeSessions": sessions})) == [Heartbeat()]
