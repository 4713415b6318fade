"""What StreamSpace's agents can read."""

from typing import Any

import pytest

from dispatcher.protocol.platform_rules import is_dns_label, refusal


@pytest.mark.parametrize("payload", [[1], "text", 7, True, 1.5])
def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    """They drop it without a word; the reason says what to do instead."""
    reason = refusal("noop", payload)

    assert reason is not None
    assert '{"value": ...}' in reason


@pytest.mark.parametrize("payload", [None, {}, {"sessionId": "ann-firefox-1"}, {"sessionId": 7}, {"sessionId": ""}])
def test_an_object_and_nothing_at_all_are_read(payload: Any) -> None:
    """Nothing at all is delivered as an empty object; what an agent can read, it can refuse itself."""
    assert refusal("start_session", payload) is None


@pytest.mark.parametrize("name", ["Ann", "a_b", "-a", "a-", "a.b", "ä", "a b", "x" * 64])
def test_a_session_that_is_no_dns_label_is_refused(name: str) -> None:
    """Pods and containers are named after it; another action may mean something else by `sessionId`."""
    reason = refusal("start_session", {"sessionId": name})

    assert reason is not None
    assert "DNS label" in reason
    assert not is_dns_label(name)
    assert refusal("reboot", {"sessionId": name}) is None
