"""The loss check finds each kind of error, and raises no false alarm."""

import pytest

from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import CHECKS, check_for_loss
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, put, say

BROKEN = {
    "lost_commands": "delete from agent_commands where command_id = 'k1'",
    "stuck_commands": """
        update agent_commands set created_at = now() - interval '1 hour' where command_id = 'k2';
        update agents set connected_at = now() - interval '1 hour';
        update command_history set at = at - interval '1 hour'""",
    "overdue_commands": "update agent_commands set deliver_by = now() - interval '1 hour' where command_id = 'k2'",
    "illegal_transitions": "update agent_commands set status = 'pending', moves = moves + 1 where command_id = 'k1'",
    "broken_histories": """
        alter table agent_commands disable trigger agent_commands_record_update;
        update agent_commands set status = 'failed' where command_id = 'k1'""",
    "times_out_of_order": "update agent_commands set sent_at = created_at - interval '1 day' where command_id = 'k1'",
}


@pytest.fixture(autouse=True)
def _history(conn: Connection) -> None:
    """One command is completed, and one is pending."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)
    say(conn, "complete", commandId="k1")
    put(conn, "k2")


def test_a_correct_history_has_no_findings(conn: Connection) -> None:
    """No check raises a false alarm."""
    found = check_for_loss(conn)

    assert found.clean
    assert found.figures["pending_commands"] == 1
    assert found.figures["connected_agents"] == 1


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_its_own_kind_of_error(conn: Connection, check: str) -> None:
    """And no other check finds anything."""
    for statement in BROKEN[check].split(";"):
        conn.execute(statement.encode())

    found = check_for_loss(conn)

    assert {finding.check for finding in found.findings if finding.offenders} == {check}


def test_a_deleted_history_is_found(conn: Connection) -> None:
    """I16: a command without any history is broken too."""
    conn.execute("delete from command_history where command_id = 'k2'")

    found = check_for_loss(conn)

    broken = {finding.check: finding.offenders for finding in found.findings if finding.offenders}
    assert broken == {"broken_histories": 1}


@pytest.mark.parametrize("cause", [None, "an operator's reason"])
def test_an_illegal_transition_made_by_hand_is_allowed(conn: Connection, cause: str | None) -> None:
    """The same transition is a finding above; an operator may make it with SQL, and may set a cause."""
    conn.execute(
        "update agent_commands set status = 'pending', cause = coalesce(%s, cause) where command_id = 'k1'", (cause,)
    )

    assert check_for_loss(conn).clean
