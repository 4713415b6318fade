"""What agents report about their commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.commands.model import Move, Status, sources
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps, storable

RETRY_SECONDS_MOST = 300
"""The longest pause before a failure that its agent calls retryable is tried again; the first is about 2 s."""

# What an attempt's number, or without it the connection's epoch, says of a report: that it is of the last attempt.
_OF_LAST_ATTEMPT = """case when %(attempt)s::int is null then c.epoch <= %(epoch)s else c.attempt = %(attempt)s end"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The command that a report moved."""

    command_id: str
    action: str
    session_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a report comes from: whose it is, and over which of the agent's connections it came."""

    agent_id: str
    epoch: int


def acknowledge(conn: Connection, origin: Origin, acks: Sequence[tuple[str, int | None]]) -> list[Settled]:
    """Take an agent's acks, each of a command and an attempt; return what they moved.

    An ack of an older attempt is none of the last one; where it names no attempt, the connection over which it came tells.
    """
    rows = conn.execute(
        """
        update agent_commands c set status = 'acknowledged', acknowledged_at = clock_timestamp(), ack_deadline = null,
            execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second',
            cause = 'acknowledged by its agent'
        from unnest(%(ids)s::text[], %(attempts)s::int[]) as ack (command_id, attempt)
        where c.command_id = ack.command_id and c.agent_id = %(agent_id)s and c.status = any(%(sources)s) and c.attempt > 0
          and case when ack.attempt is null then c.epoch <= %(epoch)s else c.attempt = ack.attempt end
        returning c.command_id, c.action, c.session_id
        """,
        {
            "ids": [command_id for command_id, _ in acks],
            "attempts": [attempt for _, attempt in acks],
            "agent_id": origin.agent_id,
            "epoch": origin.epoch,
            "sources": sources(Move.ACKNOWLEDGE),
        },
    ).fetchall()
    return _settled(rows)


def complete(conn: Connection, origin: Origin, results: Sequence[tuple[str, Any]]) -> list[Settled]:
    """Take an agent's results, of whichever attempt; return what they moved."""
    rows = conn.execute(
        """
        update agent_commands c set status = 'completed', result = done.result, completed_at = clock_timestamp(),
            ack_deadline = null, execution_deadline = null, error_message = null, cause = 'completed by its agent'
        from unnest(%s::text[], %s::jsonb[]) as done (command_id, result)
        where c.command_id = done.command_id and c.agent_id = %s and c.status = any(%s) and c.attempt > 0
        returning c.command_id, c.action, c.session_id
        """,
        (
            [command_id for command_id, _ in results],
            [_jsonb(result) for _, result in results],
            origin.agent_id,
            sources(Move.COMPLETE),
        ),
    ).fetchall()
    return _settled(rows)


def fail(conn: Connection, origin: Origin, command_id: str, error: str, *, attempt: int | None) -> list[Settled]:
    """Take an agent's failure; one of an older attempt does not count while a newer one is under way."""
    rows = conn.execute(
        f"""
        update agent_commands c set status = 'failed', completed_at = clock_timestamp(),
            ack_deadline = null, execution_deadline = null, error_message = %(error)s, cause = 'failed at its agent'
        where c.command_id = %(command_id)s and c.agent_id = %(agent_id)s and c.status = any(%(sources)s) and c.attempt > 0
          and (c.status <> all(array['sent', 'acknowledged']) or {_OF_LAST_ATTEMPT})
        returning c.command_id, c.action, c.session_id
        """,
        _parameters(origin, command_id, attempt, error=storable(error), sources=sources(Move.FAIL)),
    ).fetchall()
    return _settled(rows)


def retry(conn: Connection, origin: Origin, command_id: str, error: str, *, attempt: int | None) -> list[Settled]:
    """Take a failure that its agent calls retryable: pending again after a pause, while attempts are left."""
    rows = conn.execute(
        f"""
        update agent_commands c set status = 'pending', ack_deadline = null, execution_deadline = null,
            error_message = %(error)s, cause = 'attempt ' || c.attempt || ' failed at its agent, which asks for another',
            not_before = clock_timestamp()
                + least(2.0 ^ least(c.attempt, 16), %(most)s) * (0.5 + random()) * interval '1 second'
        where c.command_id = %(command_id)s and c.agent_id = %(agent_id)s and c.status = any(%(sources)s)
          and c.attempt between 1 and c.max_attempts - 1 and {_OF_LAST_ATTEMPT} and c.cancel_requested_at is null
        returning c.command_id, c.action, c.session_id
        """,
        _parameters(
            origin, command_id, attempt, error=storable(error), sources=sources(Move.RETRY), most=RETRY_SECONDS_MOST
        ),
    ).fetchall()
    return _settled(rows)


def progress(conn: Connection, origin: Origin, command_id: str, value: Any, *, attempt: int | None) -> list[Settled]:
    """Keep an agent's progress, and start the execution timeout again."""
    rows = conn.execute(
        f"""
        update agent_commands c set progress = %(progress)s,
            execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second'
        where c.command_id = %(command_id)s and c.agent_id = %(agent_id)s and c.status = 'acknowledged'
          and {_OF_LAST_ATTEMPT}
        returning c.command_id, c.action, c.session_id
        """,
        _parameters(origin, command_id, attempt, progress=_jsonb(value)),
    ).fetchall()
    return _settled(rows)


def confirm_cancel(conn: Connection, origin: Origin, command_id: str, *, attempt: int | None) -> list[Settled]:
    """Take an agent's word that it has cancelled what it was asked to cancel."""
    rows = conn.execute(
        f"""
        update agent_commands c set status = 'cancelled', completed_at = clock_timestamp(),
            ack_deadline = null, execution_deadline = null, cause = 'cancelled by its agent'
        where c.command_id = %(command_id)s and c.agent_id = %(agent_id)s and c.status = any(%(sources)s)
          and c.cancel_requested_at is not null and {_OF_LAST_ATTEMPT}
        returning c.command_id, c.action, c.session_id
        """,
        _parameters(origin, command_id, attempt, sources=sources(Move.CONFIRM_CANCEL)),
    ).fetchall()
    return _settled(rows)


def in_flight_of_session(conn: Connection, origin: Origin, session_id: str) -> str | None:
    """Find the command that an answer naming only its session belongs to: the one sent first.

    What went out over newer connections alone was never seen where the answer comes from.  A connection that is forgotten
    already was the agent's last one if it has none now, and an older one otherwise.
    """
    row = conn.execute(
        """select c.command_id from agent_commands c join agents a using (agent_id)
           where c.agent_id = %(agent_id)s and ('' || c.session_id) = %(session_id)s
             and c.status in ('sent', 'acknowledged', 'timed_out') and c.attempt > 0
             and exists (select from command_history h where h.command_id = c.command_id and h.to_status = 'sent'
                 and h.epoch <= case when %(epoch)s >= 0 then %(epoch)s
                     else a.epoch - (a.connection_id is not null)::int end)
           order by c.status = 'timed_out', c.seq limit 1""",
        {"agent_id": origin.agent_id, "session_id": session_id, "epoch": origin.epoch},
    ).fetchone()
    return row[0] if row else None


def status_of(conn: Connection, agent_id: str, command_id: str) -> Status | None:
    """Tell where one of the agent's own commands is; None for one that it does not have."""
    row = conn.execute(
        "select status from agent_commands where command_id = %s and agent_id = %s", (command_id, agent_id)
    ).fetchone()
    return Status(row[0]) if row else None


def _parameters(origin: Origin, command_id: str, attempt: int | None, **others: Any) -> dict[str, Any]:
    return {
        "agent_id": origin.agent_id,
        "epoch": origin.epoch,
        "command_id": command_id,
        "attempt": attempt,
        **others,
    }


def _settled(rows: list[tuple[Any, ...]]) -> list[Settled]:
    return [Settled(command_id=row[0], action=row[1], session_id=row[2]) for row in rows]


def _jsonb(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(storable(value), dumps=dumps)
