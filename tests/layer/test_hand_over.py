"""Handing over to flush: a Lambda API that does not answer must not cost an agent its handshake."""

import socket
import time

import pytest

from dispatcher import presence
from dispatcher.presence import INVOKE_CONNECT_SECONDS, INVOKE_READ_SECONDS, HandedOver, hand_over


def test_a_lambda_api_that_is_silent_is_given_up_on_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried twice for seven seconds each, with an agent waiting that gives up after ten."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {
            "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "FLUSH_FUNCTION": "flush",
        }.items():
            monkeypatch.setenv(name, value)
        presence._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        began = time.monotonic()

        hand_over(HandedOver(agent_id="a1", connection_id="c1", epoch=1))

        presence._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        assert time.monotonic() - began < INVOKE_CONNECT_SECONDS + INVOKE_READ_SECONDS + 1.5
