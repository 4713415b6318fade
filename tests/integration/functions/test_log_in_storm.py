"""A storm of cold starts: a cluster accepts 200 log-ins with IAM a second, and refuses the others."""

from typing import Any

import psycopg
import pytest

from dispatcher.commands import late_reports
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.protocol.said import Said
from tests.integration.functions.events import LIST, Run, message_event, request, sample, token_of
from tests.rows import connect

AGENT_MESSAGE = {"type": "complete", "payload": {"commandId": "k1"}}


class LogIns:
    """Refuses the first log-ins of each environment, as Aurora does when there are too many in a second."""

    def __init__(self, refused: int) -> None:
        self._refused = refused
        self._open = database.open_connection

    def __call__(self, url: str) -> Connection:
        """Log in, or raise what psycopg raises."""
        if self._refused > 0:
            self._refused -= 1
            raise psycopg.OperationalError("connection failed: FATAL:  PAM authentication failed for user")
        return self._open(url)


def as_cold(run: Run, monkeypatch: pytest.MonkeyPatch, refused: int, function: str, event: Any = None) -> Any:
    """Run a function in an environment of its own."""
    with monkeypatch.context() as cold:
        cold.setattr(database, "_kept", None)
        cold.setattr(database, "open_connection", LogIns(refused))
        answer = run(function, event)
        if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return answer


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the queue of late reports keeps."""
    texts: list[str] = []

    def keep(said: Said, _event_id: str) -> None:
        texts.append(said.text)

    monkeypatch.setenv("LATE_REPORTS_QUEUE_URL", "https://sqs.example/late.fifo")
    monkeypatch.setattr(late_reports, "keep", keep)
    monkeypatch.setattr(database, "RETRY_PAUSES", (0.01, 0.01, 0.01))
    return texts


def test_a_log_in_that_is_refused_is_tried_again(
    run: Run, agent: str, conn: Connection, monkeypatch: pytest.MonkeyPatch, kept: list[str]
) -> None:
    """Three times within a second and a half, at random moments: 200 more log-ins fit into each second."""
    connect(conn, agent)

    facts = as_cold(run, monkeypatch, 3, "authorize_agent")["context"]
    handshake = as_cold(run, monkeypatch, 3, "connect")
    message = as_cold(run, monkeypatch, 3, "message", message_event("c1", AGENT_MESSAGE))

    assert facts["agentId"] == agent
    assert (handshake, message) == ({"statusCode": 200}, {"statusCode": 200})
    assert kept == []


def test_in_a_longer_storm_everyone_is_told_to_come_again_and_nothing_is_lost(
    run: Run, agent: str, conn: Connection, monkeypatch: pytest.MonkeyPatch, kept: list[str]
) -> None:
    """Agents and operators get 503; what agents say is kept."""
    connect(conn, agent)
    event = sample("connect")
    operators_request = request("GET", LIST, role=None, Authorization=f"Bearer {token_of('ann')}")

    event["requestContext"]["authorizer"] = as_cold(run, monkeypatch, 99, "authorize_agent")["context"]
    handshake = as_cold(run, monkeypatch, 99, "connect", event)
    admitted = as_cold(run, monkeypatch, 99, "connect")
    message = as_cold(run, monkeypatch, 99, "message", message_event("c1", AGENT_MESSAGE))
    page = as_cold(run, monkeypatch, 99, "commands", operators_request)

    assert (handshake, admitted, page["statusCode"]) == ({"statusCode": 503}, {"statusCode": 503}, 503)
    assert message == {"statusCode": 200}
    assert len(kept) == 1
