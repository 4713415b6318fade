"""A claim takes what is due and fits the window, also where the agent may be posted to for another reason."""

from dispatcher.commands import claims
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.rows import connect, provide, put, statuses


def test_a_claim_takes_no_more_than_the_window_has_left(conn: Connection) -> None:
    """I5: two of three places are taken, so one of four waiting commands goes out."""
    provide(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=3)
    for number in range(2):
        put(conn, f"sent-{number}", status="sent", attempt=1)
    for number in range(4):
        put(conn, f"waiting-{number}")

    claim = claims.claim(conn, "a1")

    assert claim is not None
    assert [command.command_id for command in claim.commands] == ["waiting-0"]


def test_a_claim_leaves_out_what_is_too_late_and_what_is_too_early(conn: Connection) -> None:
    """I14: another command is due, so the agent is posted to; these two are not."""
    provide(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "late")
    put(conn, "early", not_before="2999-01-01")
    put(conn, "due")
    conn.execute("update agent_commands set deliver_by = now() where command_id = 'late'")

    claims.claim(conn, "a1")

    assert statuses(conn) == {"late": "pending", "early": "pending", "due": "sent"}
