"""Claims: a worker takes an agent's lease and commands that are due, and gives both back when it has posted."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from uuid import uuid4

from psycopg.rows import kwargs_row

from dispatcher.agents import connections
from dispatcher.commands import redelivery
from dispatcher.platform.database import Connection, fetch_all
from dispatcher.platform.statements import fragment, statement
from dispatcher.protocol.frames import ClaimedCommand
from dispatcher.protocol.handshake import DeliveryMode

LEASE_SECONDS = 30
"""How long one worker may post to an agent: longer than the posts of a claim take, shorter than the sweep's period."""
ACK_SECONDS = 20
"""How long an agent has for the ack of the first attempt; doubled with each attempt, with jitter, up to ACK_SECONDS_MOST."""
ACK_SECONDS_MOST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The lease on one agent and the commands claimed under it, in the order of delivery."""

    agent_id: str
    token: str
    connection_id: str
    epoch: int
    mode: DeliveryMode
    commands: tuple[ClaimedCommand, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a claim: which commands were not sent, and why."""

    unsent: Sequence[ClaimedCommand] = ()
    unsent_cause: str = ""
    unsendable: Sequence[tuple[ClaimedCommand, str]] = ()
    """Commands that can never be sent, each with the reason."""
    gone: bool = False
    """The connection does not exist any more: it is forgotten, and only this one."""
    throttle_seconds: float | None = None
    """How long the agent's whole queue waits, so that no command overtakes another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueAgent:
    """A connected agent with due commands."""

    agent_id: str
    connection_id: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leased:
    connection_id: str
    epoch: int
    dialect: str


_DELIVERABLE = fragment(__package__, "deliverable")
_LEASE = statement(__package__, "lease", deliverable=_DELIVERABLE)
_CLAIM = statement(__package__, "claim")


def claim(conn: Connection, agent_id: str) -> Claim | None:
    """Take the agent's lease and claim due commands that fit its window, in one round trip and one transaction.

    None where the agent is not connected, another worker holds the lease, the agent is throttled, or nothing is due.  There
    are two statements because the second needs a newer snapshot: it must see what the last holder sent.
    """
    token = str(uuid4())
    parameters = {
        "agent_id": agent_id,
        "token": token,
        "lease_seconds": LEASE_SECONDS,
        "ack_seconds": ACK_SECONDS,
        "ack_seconds_most": ACK_SECONDS_MOST,
    }
    with (
        conn.cursor(row_factory=kwargs_row(_Leased)) as lease,
        conn.cursor(row_factory=kwargs_row(_claimed)) as claimed,
    ):
        with conn.pipeline(), conn.transaction():
            lease.execute(_LEASE, parameters)
            claimed.execute(_CLAIM, parameters)
        agent = lease.fetchone()
        if agent is None:
            return None
        commands = [command for _, command in sorted(claimed.fetchall(), key=itemgetter(0))]
    return Claim(
        agent_id=agent_id,
        token=token,
        connection_id=agent.connection_id,
        epoch=agent.epoch,
        mode=DeliveryMode(agent.dialect),
        commands=tuple(commands),
    )


def _claimed(*, priority: int, seq: int, **columns: Any) -> tuple[tuple[int, int], ClaimedCommand]:
    """Turn a row into a claimed command, with its place in the order of delivery."""
    return (-priority, seq), ClaimedCommand(**columns)


def is_held(conn: Connection, claim: Claim) -> bool:
    """Tell whether the claim's lease still holds: a newer connection of the agent ends it."""
    row = conn.execute(
        "select 1 from agents where agent_id = %s and lease_token = %s", (claim.agent_id, claim.token)
    ).fetchone()
    return row is not None


def release(conn: Connection, claim: Claim, outcome: Outcome) -> None:
    """Give the lease back, and return what was not sent to the queue, in one round trip and one transaction.

    Only what this claim took is touched: a command that was claimed again meanwhile has another attempt.
    """
    with conn.pipeline(), conn.transaction():
        if outcome.unsent:
            redelivery.return_unsent(conn, outcome.unsent, outcome.unsent_cause)
        for command, reason in outcome.unsendable:
            conn.execute(
                """
                update agent_commands
                set status = 'failed',
                    moves = moves + 1,
                    error_message = %(reason)s,
                    cause = %(reason)s,
                    completed_at = clock_timestamp(),
                    ack_deadline = null
                where command_id = %(command_id)s
                  and attempt = %(attempt)s
                  and status = 'sent'
                """,
                {"reason": reason, "command_id": command.command_id, "attempt": command.attempt},
            )
        if outcome.gone:
            connections.forget(conn, claim.agent_id, claim.connection_id)
        conn.execute(
            """
            update agents
            set lease_token = null,
                lease_expires_at = null,
                throttled_until = clock_timestamp() + %s::float8 * interval '1 second'  -- null where nothing throttles
            where agent_id = %s
              and lease_token = %s
            """,
            (outcome.throttle_seconds, claim.agent_id, claim.token),
        )


_DUE_AGENTS = (
    f"select a.agent_id, a.connection_id, a.epoch from agents a where ({_DELIVERABLE}) limit %(limit)s"
).encode()


def due_agents(conn: Connection, limit: int) -> list[DueAgent]:
    """Find connected agents with due commands and without a worker that delivers them.

    The statement probes the queue of each connected agent; commands for offline agents cost nothing.
    """
    return fetch_all(conn, DueAgent, _DUE_AGENTS, {"limit": limit})
