"""Submission: an ended command is submitted again unchanged."""

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import submission
from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, put


@pytest.mark.parametrize("payload", ["null", "1e400", '{"n": 12345678901234567890.50}', "[]"])
def test_a_redriven_command_has_the_stored_payload(conn: Connection, payload: str) -> None:
    """The payload is not decoded between the two commands: null stays null, and a number keeps its digits."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=payload, status="dead")

    again = submission.redrive(conn, "k1", Operator(username="ann", role=Role.ADMIN)).command
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    stored = conn.execute("select payload::text from agent_commands order by seq").fetchall()
    assert stored[0] == stored[1]
    assert [message["commands"][0]["commandId"] for message in gateway.messages] == [again.command_id]
