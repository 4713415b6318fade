"""The handshake: the protocol and the window that an agent asks for."""

import pytest

from dispatcher.errors import InvalidRequest
from dispatcher.protocol.handshake import DeliveryMode, Handshake


@pytest.mark.parametrize(
    "query",
    [
        {"protocol": "3"},
        {"protocol": "2", "window": "0"},
        {"protocol": "2", "window": "-1"},
        {"protocol": "2", "window": "101"},
        {"protocol": "2", "window": "9" * 400},
        {"protocol": "2", "window": "0099999"},
        {"protocol": "2", "window": "٣"},
        {"protocol": "2", "window": "x"},
    ],
)
def test_a_protocol_or_window_that_does_not_exist_is_refused(query: dict[str, str]) -> None:
    """I5: an agent has at most a hundred commands in flight; an unknown protocol is refused."""
    with pytest.raises(InvalidRequest):
        Handshake.from_query(query)


def test_an_agent_that_asks_for_nothing_gets_the_first_protocol() -> None:
    """Existing agents do this."""
    assert Handshake.from_query({"agent_id": "a1"}) == Handshake()
    assert Handshake.from_query({"protocol": "2", "window": "100"}) == Handshake(mode=DeliveryMode.BATCHING, window=100)
