"""Handing over to flush: an asynchronous invocation, whose failure must not cost an agent its handshake."""

import socket
import time
from collections.abc import Iterator

import pytest
from moto import mock_aws

from dispatcher import presence
from dispatcher.presence import INVOKE_CONNECT_SECONDS, INVOKE_READ_SECONDS, HandedOver, hand_over


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Lambda gives a function, and a client that knows nothing of another test's."""
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "FLUSH_FUNCTION": "acd-flush",
    }.items():
        monkeypatch.setenv(name, value)
    presence._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    yield
    presence._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return why flush was not invoked, as the log says."""
    return [vars(record)["reason"] for record in caplog.records if record.getMessage() == "Flush not invoked"]


@mock_aws()
def test_a_flush_that_is_not_there_is_said_and_the_agent_is_connected_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As moto plays Lambda; the sweep delivers what flush did not."""
    hand_over(HandedOver(agent_id="a1", connection_id="c1", epoch=1))

    assert refusals(caplog) == ["ResourceNotFoundException"]


def test_a_lambda_api_that_is_silent_is_given_up_on_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried twice for seven seconds each, with an agent waiting that gives up after ten."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()

        hand_over(HandedOver(agent_id="a1", connection_id="c1", epoch=1))

        assert time.monotonic() - began < INVOKE_CONNECT_SECONDS + INVOKE_READ_SECONDS + 1.5
