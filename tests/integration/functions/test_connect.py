"""The functions `connect` and `disconnect`: an agent connects and disconnects."""

import pytest

from dispatcher.commands import flush
from dispatcher.commands.flush import FlushRequest
from dispatcher.platform import lambda_api
from dispatcher.platform.database import Connection
from tests.integration.functions.events import AGENT, Run, connection_of_sample, sample
from tests.rows import connect, current_connection, interrupt_once


@pytest.mark.usefixtures("agent")
def test_a_connection_is_handed_over_to_flush_with_its_epoch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """R11, R12: commands do not wait for a restart, and are not sent before the handshake is over."""
    handed: list[FlushRequest] = []
    monkeypatch.setattr(flush, "invoke_flush", handed.append)

    run("connect")

    request = FlushRequest(agent_id=AGENT, connection_id=connection_of_sample(), epoch=1, may_have_arrived=False)
    assert handed == [request]


@pytest.mark.usefixtures("agent")
def test_an_agent_connects_even_if_flush_cannot_be_invoked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep delivers its commands."""
    lambda_api._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")

    answer = run("connect")

    lambda_api._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    assert answer == {"statusCode": 200}


@pytest.mark.parametrize(("function", "connected"), [("connect", True), ("disconnect", False)])
def test_connections_and_disconnections_are_recorded_although_the_database_is_interrupted(
    run: Run, agent: str, conn: Connection, function: str, *, connected: bool
) -> None:
    """The gateway sends each event once."""
    if function == "disconnect":
        connect(conn, agent, connection_of_sample())
    interrupt_once(conn, "agents", "40P01")

    run(function)

    assert (current_connection(conn, agent) is not None) == connected


def test_the_end_of_a_postponed_handshake_forgets_nothing(run: Run, agent: str, conn: Connection) -> None:
    """The authorizer could not say who it was, so nothing was recorded."""
    connect(conn, agent, connection_of_sample())
    event = sample("disconnect")
    event["requestContext"]["authorizer"] = {"postponed": "true"}

    answer = run("disconnect", event)

    assert answer == {"statusCode": 200}
    assert current_connection(conn, agent) == connection_of_sample()


@pytest.mark.usefixtures("agent")
def test_an_agent_of_protocol_2_is_to_be_welcomed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By flush, because no post reaches a connection before its $connect event is answered."""
    handed: list[FlushRequest] = []
    monkeypatch.setattr(flush, "invoke_flush", handed.append)
    event = sample("connect")
    event["queryStringParameters"] |= {"protocol": "2", "window": "9"}

    run("connect", event)

    assert [(request.epoch, request.welcome) for request in handed] == [(1, True)]


@pytest.mark.usefixtures("agent")
def test_a_handshake_that_is_interrupted_is_repeated_and_records_one_connection(run: Run, conn: Connection) -> None:
    """The first try may have been committed: the epoch grows, and the connection is the same."""
    interrupt_once(conn, "agents", "57P01")

    answer = run("connect")

    rows = conn.execute("select connection_id, epoch from agent_connections").fetchall()
    assert answer == {"statusCode": 200}
    assert rows == [(connection_of_sample(), 1)]
