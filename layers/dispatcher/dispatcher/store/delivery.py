"""Claiming commands under an agent's lease, and giving back what did not reach it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import uuid4

from dispatcher.commands.model import Claim, ClaimedCommand, Dialect
from dispatcher.platform.database import Connection

LEASE_SECONDS = 30
"""How long one holder may post: longer than the posts of one claim take, shorter than the sweep's period."""
ACK_SECONDS = 20
"""How long an agent has for its first ack; doubled with each attempt, with jitter, up to ACK_SECONDS_MOST."""
ACK_SECONDS_MOST = 300

# What may be claimed, written once: `a` is the agent's row, `c` the command's.  A silent agent never acknowledges and its
# answer names only the session, so it gets one command a session; the others have a window for what is unacknowledged.
_CLAIMABLE = """
    c.agent_id = a.agent_id and c.status = 'pending'
    and (c.not_before is null or c.not_before <= now()) and (c.deliver_by is null or c.deliver_by > now())
    and (a.dialect <> 'silent' or not exists (
        select from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent'
            and f.session_id is not distinct from c.session_id))"""
_WINDOW_LEFT = """
    case when a.dialect = 'silent' then 1 else greatest(0, a.delivery_window - (
        select count(*) from (select 1 from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent'
            limit a.delivery_window) as in_flight)) end"""
# An agent that can be posted to now, and has something to be posted.  Until its $connect has returned, a post would find it
# gone: flush knows when that is; without it, no handshake takes longer than an agent's patience of 10 s.  The last line is a
# probe of the agent's own queue: with `offset` the planner makes no join of it, which would read the queues of all agents, and
# in this order it finds no other index.
_DELIVERABLE = f"""
    a.connection_id is not null and a.approval = 'approved'
    and (a.live or a.connected_at < now() - interval '10 seconds')
    and (a.lease_expires_at is null or a.lease_expires_at <= now())
    and (a.throttled_until is null or a.throttled_until <= now())
    and {_WINDOW_LEFT} > 0 and exists (
        select from agent_commands c where {_CLAIMABLE} order by c.priority desc, c.seq offset 0)"""


def claim(conn: Connection, agent_id: str) -> Claim | None:
    """Take the agent's lease and claim what is due and fits its window; None where there is nothing to do.

    None means: the agent is not connected, another one holds the lease, it is throttled, or nothing is due.  Two statements
    in one round trip and one transaction: the second one's snapshot is younger than the lease, or it could count what is
    in flight as it was before the last holder's claim.
    """
    token = str(uuid4())
    parameters = {
        "agent_id": agent_id,
        "token": token,
        "lease": LEASE_SECONDS,
        "ack": ACK_SECONDS,
        "ack_most": ACK_SECONDS_MOST,
    }
    with conn.pipeline(), conn.transaction():
        lease = conn.execute(
            f"""
            update agents a set lease_token = %(token)s,
                lease_expires_at = clock_timestamp() + %(lease)s * interval '1 second'
            where a.agent_id = %(agent_id)s and {_DELIVERABLE}
            returning a.connection_id, a.epoch, a.dialect
            """,
            parameters,
        )
        commands = conn.execute(
            f"""
            update agent_commands c set status = 'sent', attempt = c.attempt + 1, epoch = a.epoch,
                sent_at = clock_timestamp(), cause = 'claimed for attempt ' || c.attempt + 1,
                ack_deadline = clock_timestamp() + interval '1 second' * case when a.dialect = 'silent'
                    then c.execution_timeout
                    else least(%(ack)s * 2.0 ^ least(c.attempt, 16), %(ack_most)s) * (0.9 + 0.2 * random()) end
            from agents a
            where a.agent_id = %(agent_id)s and a.lease_token = %(token)s
              and c.command_id = any(array(
                select c.command_id from agent_commands c where {_CLAIMABLE}
                order by c.priority desc, c.seq limit {_WINDOW_LEFT}
                for update of c skip locked))
            returning c.command_id, c.attempt,
                case when a.dialect = 'batching'
                    then command_entry(c.command_id, c.attempt, c.action, c.session_id, c.payload, c.execution_timeout)
                    else command_frame(c.command_id, c.action, c.payload) end,
                extract(epoch from c.deliver_by - clock_timestamp())::float8, c.priority, c.seq
            """,
            parameters,
        )
    leased = lease.fetchone()
    if leased is None:
        return None
    rows = sorted(commands.fetchall(), key=lambda row: (-row[4], row[5]))
    return Claim(
        agent_id=agent_id,
        token=token,
        connection_id=leased[0],
        epoch=leased[1],
        dialect=Dialect(leased[2]),
        commands=tuple(
            ClaimedCommand(command_id=row[0], attempt=row[1], frame=row[2], seconds_left=row[3]) for row in rows
        ),
    )


def is_held(conn: Connection, claim: Claim) -> bool:
    """Tell whether a claim's lease is still its own: a newer connection of the agent ends it."""
    held = "select from agents where agent_id = %s and lease_token = %s"
    return conn.execute(held, (claim.agent_id, claim.token)).fetchone() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What became of a claim: the commands that were not sent, and those that never can be."""

    unsent: Sequence[ClaimedCommand] = ()
    unsent_cause: str = ""
    unsendable: Sequence[tuple[ClaimedCommand, str]] = ()
    gone: bool = False
    """The connection that was tried does not exist any more: it is forgotten, and only it."""
    throttle_seconds: float | None = None
    """How long the agent's whole queue waits, so that nothing overtakes."""


def settle(conn: Connection, claim: Claim, settlement: Settlement) -> None:
    """Release the lease and give back what was not sent, in one round trip and one transaction.

    Only what this very claim took is touched: a command that was claimed again meanwhile has another attempt.
    """
    with conn.pipeline(), conn.transaction():
        if settlement.unsent:
            give_back(
                conn,
                "select *, %s as cause from unnest(%s::text[], %s::int[]) as unsent (command_id, attempt)",
                (
                    settlement.unsent_cause,
                    [command.command_id for command in settlement.unsent],
                    [command.attempt for command in settlement.unsent],
                ),
            )
        for command, reason in settlement.unsendable:
            conn.execute(
                """
                update agent_commands set status = 'failed', error_message = %s, cause = %s,
                    completed_at = clock_timestamp(), ack_deadline = null
                where command_id = %s and attempt = %s and status = 'sent'
                """,
                (reason, reason, command.command_id, command.attempt),
            )
        if settlement.gone:
            forget_connection(conn, claim.connection_id)
        conn.execute(
            """
            update agents set lease_token = null, lease_expires_at = null,
                throttled_until = clock_timestamp() + %s::float8 * interval '1 second'
            where agent_id = %s and lease_token = %s
            """,
            (settlement.throttle_seconds, claim.agent_id, claim.token),
        )


def give_back(conn: Connection, attempts: LiteralString, parameters: tuple[Any, ...]) -> int:
    """End attempts that reached nobody; `attempts` is a query for their command_id, attempt and cause.

    The command is pending again; cancelled, where that was asked for meanwhile; dead, where no attempt is left.
    """
    return conn.execute(
        f"""
        with attempts as ({attempts})
        update agent_commands c set
            status = case when c.cancel_requested_at is not null then 'cancelled'
                when c.attempt < c.max_attempts then 'pending' else 'dead' end,
            cause = case when c.cancel_requested_at is null and c.attempt = c.max_attempts
                then attempts.cause || '; no attempt is left of ' || c.max_attempts else attempts.cause end,
            error_message = case when c.cancel_requested_at is null and c.attempt = c.max_attempts
                then attempts.cause || '; no attempt is left of ' || c.max_attempts else c.error_message end,
            completed_at = case when c.cancel_requested_at is null and c.attempt < c.max_attempts
                then null else clock_timestamp() end,
            ack_deadline = null
        from attempts
        where c.command_id = attempts.command_id and c.attempt = attempts.attempt and c.status = 'sent'
        """,
        parameters,
    ).rowcount


def forget_connection(conn: Connection, connection_id: str) -> None:
    """Forget one connection, and the agent's route only where it still leads there."""
    conn.execute("delete from agent_connections where connection_id = %s", (connection_id,))
    conn.execute("update agents set connection_id = null where connection_id = %s", (connection_id,))


@dataclass(frozen=True, slots=True, kw_only=True)
class DueAgent:
    """A connected agent with something to be delivered."""

    agent_id: str
    connection_id: str
    epoch: int


def due_agents(conn: Connection, limit: int) -> Sequence[DueAgent]:
    """Find connected agents that have something due and nobody who is delivering it.

    It walks the connected agents and probes each one's queue: what lies there for agents that are away costs nothing.
    """
    rows = conn.execute(
        f"select a.agent_id, a.connection_id, a.epoch from agents a where {_DELIVERABLE} limit %s", (limit,)
    ).fetchall()
    return [DueAgent(agent_id=row[0], connection_id=row[1], epoch=row[2]) for row in rows]
