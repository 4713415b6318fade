"""What a whole invocation of each hot function costs the database: nothing beside the steps of tests/integration/commands."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.database_proxy import Traffic, counted
from tests.fakes import FakeGateway
from tests.integration.functions.events import (
    AGENT,
    COMMANDS,
    Run,
    connection_of_sample,
    message_event,
    request,
    sample,
)
from tests.rows import connect, put, report_of, statuses


@pytest.fixture
def traffic(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traffic]:
    """What the functions and the database say to each other, over a connection that is open already."""
    with counted(database_url) as (url, traffic):
        monkeypatch.setenv("DATABASE_URL", url)
        run("heartbeat")
        yield traffic


Cost = Callable[[str, Any], tuple[int, int, int, int]]


@pytest.fixture
def cost(traffic: Traffic, gateway: FakeGateway, run: Run) -> Cost:
    """Run a function; return its round trips, statements, commits and posts."""

    def cost_of(function: str, event: Any) -> tuple[int, int, int, int]:
        traffic.reset()
        posts = len(gateway.frames)
        answer = run(function, event)
        assert answer["statusCode"] in {200, 202}
        return traffic.round_trips, traffic.statements, traffic.commits, len(gateway.frames) - posts

    return cost_of


@pytest.mark.parametrize("function", ["heartbeat", "disconnect", "connect"])
@pytest.mark.usefixtures("agent")
def test_a_sign_of_life_a_connection_and_its_end_are_one_statement_each(
    cost: Cost, conn: Connection, function: str
) -> None:
    """Also with its key, its address and its epoch."""
    if function != "connect":
        connect(conn, AGENT, connection_of_sample())

    assert cost(function, sample(function)) == (1, 1, 1, 0)


@pytest.mark.usefixtures("agent")
def test_an_authorizer_that_admits_an_agent_asks_once(traffic: Traffic, run: Run) -> None:
    """A thousand agents may connect at once."""
    traffic.reset()

    answer = run("authorize_agent")

    assert answer["principalId"] == AGENT
    assert (traffic.round_trips, traffic.statements, traffic.commits) == (1, 1, 1)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, (1, 1, 1, 0)), (DeliveryMode.ACKNOWLEDGING, (1, 1, 1, 1)), (DeliveryMode.BATCHING, (2, 2, 2, 1))],
    ids=["offline", "first protocol", "second protocol"],
)
@pytest.mark.usefixtures("agent")
def test_a_submission(
    cost: Cost,
    conn: Connection,
    mode: DeliveryMode | None,
    expected: tuple[int, int, int, int],
) -> None:
    """The caller's rights, the command, its history, its claim and its audit entry are one statement."""
    if mode is not None:
        connect(conn, AGENT, connection_of_sample(), mode=mode, window=9)

    assert cost("commands", request("POST", COMMANDS, {"action": "noop"})) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [("pending", (2, 2, 2, 0)), ("acknowledged", (4, 4, 4, 1))],
)
@pytest.mark.usefixtures("agent")
def test_a_cancel(cost: Cost, conn: Connection, status: str, expected: tuple[int, int, int, int]) -> None:
    """The caller's rights; the cancel with its audit entry; for a command under way a claim, the post, and a release."""
    connect(conn, AGENT, connection_of_sample(), mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1", AGENT, status=status, attempt=0 if status == "pending" else 1, epoch=1)

    assert cost("commands", request("POST", "/api/v1/commands/k1/cancel")) == expected


@pytest.mark.usefixtures("agent")
def test_a_cancel_for_an_agent_that_is_offline(cost: Cost, conn: Connection) -> None:
    """It may connect at this moment, so a claim asks."""
    put(conn, "k1", AGENT, status="acknowledged", attempt=1, epoch=1)

    assert cost("commands", request("POST", "/api/v1/commands/k1/cancel")) == (3, 3, 3, 0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(None, (3, 3, 3, 0)), (DeliveryMode.ACKNOWLEDGING, (3, 3, 3, 1)), (DeliveryMode.BATCHING, (4, 4, 4, 1))],
    ids=["offline", "first protocol", "second protocol"],
)
@pytest.mark.usefixtures("agent")
def test_a_redrive(
    cost: Cost, conn: Connection, mode: DeliveryMode | None, expected: tuple[int, int, int, int]
) -> None:
    """The caller's rights and the old command are read first; then it is a submission."""
    if mode is not None:
        connect(conn, AGENT, connection_of_sample(), mode=mode, window=9)
    put(conn, "k1", AGENT, status="failed", attempt=1)

    assert cost("commands", request("POST", "/api/v1/commands/k1/redrive")) == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(DeliveryMode.ACKNOWLEDGING, (1, 1, 1, 1)), (DeliveryMode.BATCHING, (2, 2, 2, 1))],
    ids=["first protocol", "second protocol"],
)
@pytest.mark.usefixtures("agent")
def test_a_message_that_settles_and_delivers(
    cost: Cost,
    conn: Connection,
    mode: DeliveryMode,
    expected: tuple[int, int, int, int],
) -> None:
    """Twice at most, for a window of any size."""
    connect(conn, AGENT, connection_of_sample(), mode=mode, window=1)
    put(conn, "k1", AGENT, status="sent", attempt=1, epoch=1)
    put(conn, "k2", AGENT)
    first = {"type": "ack", "payload": {"commandId": "k1"}}
    second = {"type": "reports", "reports": [report_of("ack", "k1"), report_of("complete", "k1")]}
    event = message_event(connection_of_sample(), first if mode is DeliveryMode.ACKNOWLEDGING else second)

    assert cost("message", event) == expected
    assert statuses(conn)["k2"] == "sent"
