"""A function that stands still between its claim and its posts, as an environment that is throttled does."""

import time
from types import SimpleNamespace

import pytest

from dispatcher.commands import claims, delivery
from dispatcher.commands.claims import ACK_SECONDS, LEASE_SECONDS, Claim
from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, statuses


@pytest.mark.parametrize("seconds", [LEASE_SECONDS, ACK_SECONDS])
def test_what_was_claimed_too_long_ago_is_not_posted(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """I3: its lease, or its ack deadline, is over: another one may have posted it with a larger attempt."""
    provide(conn)
    connect(conn)
    put(conn, "k1")
    frozen = 0
    claim = claims.claim
    monkeypatch.setattr(delivery, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + frozen))

    def claim_and_freeze(conn: Connection, agent_id: str) -> Claim | None:
        nonlocal frozen
        claimed = claim(conn, agent_id)
        frozen = frozen or seconds
        return claimed

    monkeypatch.setattr(claims, "claim", claim_and_freeze)
    gateway = FakeGateway()
    posted: list[int] = []
    gateway.before_post = lambda _frame: posted.append(
        (conn.execute("select attempt from agent_commands").fetchone() or (0,))[0]
    )

    deliver(conn, gateway, "a1", plenty)

    assert (posted, statuses(conn)) == ([2], {"k1": "sent"})
