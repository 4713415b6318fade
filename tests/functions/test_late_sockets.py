"""Sockets that outlive the decision against them: nothing that comes over them counts, and nothing goes out over them."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys
from dispatcher.errors import Conflict
from dispatcher.platform.database import Connection, open_connection
from tests.fakes import FakeGateway
from tests.functions.conftest import AGENT, KEY_ID, Run, request, sample
from tests.functions.test_intake import COMMANDS, ask
from tests.rows import put, statuses


def say(run: Run, root: Any, body: dict[str, Any]) -> None:
    """Let the agent say something over the socket that the sample event opened."""
    event = sample(root, "message")
    event["requestContext"]["connectionId"] = sample(root, "connect")["requestContext"]["connectionId"]
    run("message", {**event, "body": json.dumps(body)})


DECISIONS = {
    "its key is revoked": ("DELETE", f"/api/v1/agents/{AGENT}/keys/{KEY_ID}"),
    "it is rejected": ("POST", f"/api/v1/agents/{AGENT}/reject"),
    "it is deleted": ("DELETE", f"/api/v1/agents/{AGENT}"),
}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("decision", DECISIONS)
def test_a_socket_that_could_not_be_closed_is_dead_all_the_same(
    run: Run, root: Any, conn: Connection, gateway: FakeGateway, decision: str
) -> None:
    """API Gateway may fail to close it; it would last for two hours."""
    run("connect")
    put(conn, "k1", AGENT, status="sent", attempt=1, epoch=1)
    ask(run, "agents", *DECISIONS[decision])
    gateway.closed.clear()  # as if that had failed

    say(run, root, {"type": "complete", "payload": {"commandId": "k1"}})
    ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert statuses(conn)["k1"] == "sent"
    assert gateway.frames == []
    assert gateway.closed == [sample(root, "connect")["requestContext"]["connectionId"]]


@pytest.mark.usefixtures("agent")
def test_whatever_an_agent_says_is_a_sign_of_life(run: Run, root: Any, conn: Connection) -> None:
    """R21: one that only acknowledges is not taken for absent; and it is away since its socket was closed."""
    run("connect")
    seen = []
    for event in (lambda: say(run, root, {"type": "ack", "payload": {"commandId": "k"}}), lambda: run("disconnect")):
        conn.execute("update agents set last_seen_at = now() - interval '10 minutes'")
        event()
        seen.append(conn.execute("select now() - last_seen_at < interval '1 minute' from agents").fetchone())

    assert seen == [(True,), (True,)]


@pytest.mark.usefixtures("agent")
def test_a_key_that_is_revoked_during_the_handshake_opens_nothing(run: Run, conn: Connection) -> None:
    """Between the authorizer's yes and the connection."""
    conn.execute("update agent_keys set revoked_at = now()")

    answer = run("connect")

    assert (answer["statusCode"], conn.execute("select count(*) from agent_connections").fetchone()) == (403, (0,))


@pytest.mark.usefixtures("agent")
def test_an_agent_over_its_rate_loses_its_socket_and_nothing_that_it_said(
    run: Run, root: Any, conn: Connection, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reports is settled; it comes back after a pause."""
    monkeypatch.setenv("AGENT_RATE", "2")
    run("connect")
    for number in range(4):
        put(conn, f"k{number}", AGENT, status="sent", attempt=1, epoch=1)

    closed: list[int] = []
    for number in range(4):
        say(run, root, {"type": "complete", "payload": {"commandId": f"k{number}"}})
        closed.append(len(gateway.closed))

    assert set(statuses(conn).values()) == {"completed"}
    assert closed in ([0, 0, 1, 2], [0, 0, 0, 0], [0, 0, 0, 1])  # fewer where a minute ends in between


@pytest.mark.usefixtures("agent")
def test_of_many_who_ask_for_a_key_at_once_one_gets_the_second(database_url: str, conn: Connection) -> None:
    """The agent has one already, and two at most."""

    def issue(_number: int) -> bool:
        with open_connection(database_url) as other:
            try:
                agent_keys.issue(other, AGENT, Operator(username="admin", role=Role.ADMIN))
            except Conflict:
                return False
        return True

    with ThreadPoolExecutor(6) as pool:
        issued = list(pool.map(issue, range(6)))

    assert issued.count(True) == 1
    assert conn.execute("select count(*) from agent_keys where revoked_at is null").fetchone() == (2,)


@pytest.mark.usefixtures("operators")
def test_a_database_that_cannot_be_asked_about_an_operator_is_a_503_and_no_401(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is told 401 gives up; it should try again."""
    password = {"username": "the-reader", "password": "reader"}
    token = ask(run, "sessions", "POST", "/api/v1/auth/login", password, role=None)[1]["token"]

    def unreachable() -> None:
        raise psycopg.OperationalError

    with monkeypatch.context() as patch:
        patch.setattr("dispatcher.platform.database.connect", unreachable)
        context = run("authorize_operator", {"headers": {"authorization": f"Bearer {token}"}})["context"]
    event = request("GET", "/api/v1/commands/k1")
    event["requestContext"]["authorizer"] = {"lambda": context}

    answer = run("commands", event)

    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
