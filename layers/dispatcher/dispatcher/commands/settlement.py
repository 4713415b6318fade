"""Settlement: what an agent's report does to its command.  Each move is one guarded statement.

A report of an older attempt does not count for the last one.  The number in a report identifies the attempt.  An agent of
protocol 1 sends no number, so the epoch of the connection decides: it must not be older than the last attempt's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.platform.database import Connection, fetch_all
from dispatcher.platform.json_text import dumps

RETRY_SECONDS_MOST = 300
"""The longest pause before a retryable failure is tried again; the first pause is about 2 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A command that a report changed."""

    command_id: str
    action: str
    session_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """The agent that reports, and the epoch of the connection that its report came over.

    None: the connection is forgotten already.  An ack without an attempt then counts for no command.
    """

    agent_id: str
    epoch: int | None


def acknowledge(conn: Connection, reporter: Reporter, acks: Sequence[tuple[str, int | None]]) -> list[Settled]:
    """Settle acks, each of a command id and an attempt; return the commands that moved."""
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set status = 'acknowledged',
            moves = c.moves + 1,
            acknowledged_at = clock_timestamp(),
            ack_deadline = null,
            execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second',
            cause = 'acknowledged by its agent'
        from unnest(%(ids)s::text[], %(attempts)s::int[]) as ack (command_id, attempt)
        where c.command_id = ack.command_id
          and c.agent_id = %(agent_id)s
          and c.status in ('pending', 'sent')
          and c.attempt > 0
          and case when ack.attempt is null then c.epoch <= %(epoch)s::bigint else c.attempt = ack.attempt end
        returning c.command_id, c.action, c.session_id
        """,
        {
            "ids": [command_id for command_id, _ in acks],
            "attempts": [attempt for _, attempt in acks],
            "agent_id": reporter.agent_id,
            "epoch": reporter.epoch,
        },
    )


def complete(conn: Connection, reporter: Reporter, results: Sequence[tuple[str, Any]]) -> list[Settled]:
    """Settle results, of any attempt; return the commands that moved."""
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set status = 'completed',
            moves = c.moves + 1,
            result = done.result,
            completed_at = clock_timestamp(),
            ack_deadline = null,
            execution_deadline = null,
            error_message = null,
            cause = 'completed by its agent'
        from unnest(%(ids)s::text[], %(results)s::jsonb[]) as done (command_id, result)
        where c.command_id = done.command_id
          and c.agent_id = %(agent_id)s
          and c.status in ('pending', 'sent', 'acknowledged', 'timed_out')
          and c.attempt > 0
        returning c.command_id, c.action, c.session_id
        """,
        {
            "ids": [command_id for command_id, _ in results],
            "results": [_jsonb(result) for _, result in results],
            "agent_id": reporter.agent_id,
        },
    )


def fail(
    conn: Connection,
    reporter: Reporter,
    command_id: str,
    error: str,
    *,
    attempt: int | None,
    retryable: bool = False,
) -> list[Settled]:
    """Settle a failure; one of an older attempt does not count while a newer attempt is under way.

    A retryable failure ends a command only where no attempt is left or a cancel was requested (see `retry`): where the command
    is pending, another attempt is to come.
    """
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set status = 'failed',
            moves = c.moves + 1,
            completed_at = clock_timestamp(),
            ack_deadline = null,
            execution_deadline = null,
            error_message = %(error)s,
            cause = 'failed at its agent'
        where c.command_id = %(command_id)s
          and c.agent_id = %(agent_id)s
          and c.status in ('pending', 'sent', 'acknowledged', 'timed_out')
          and c.attempt > 0
          and (c.status <> 'pending' or not %(retryable)s)
          and (c.status not in ('sent', 'acknowledged')
            or case when %(attempt)s::int is null then c.epoch <= %(epoch)s::bigint else c.attempt = %(attempt)s end)
        returning c.command_id, c.action, c.session_id
        """,
        {**_parameters(reporter, command_id, attempt), "error": error, "retryable": retryable},
    )


def retry(conn: Connection, reporter: Reporter, command_id: str, error: str, *, attempt: int | None) -> list[Settled]:
    """Settle a retryable failure: pending again after a pause, while attempts are left."""
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set status = 'pending',
            moves = c.moves + 1,
            ack_deadline = null,
            execution_deadline = null,
            error_message = %(error)s,
            cause = 'attempt ' || c.attempt || ' failed at its agent, which asks for another',
            not_before = clock_timestamp()
                + least(2.0 ^ least(c.attempt, 16), %(most)s) * (0.5 + random()) * interval '1 second'
        where c.command_id = %(command_id)s
          and c.agent_id = %(agent_id)s
          and c.status in ('sent', 'acknowledged')
          and c.attempt between 1 and c.max_attempts - 1
          and case when %(attempt)s::int is null then c.epoch <= %(epoch)s::bigint else c.attempt = %(attempt)s end
          and c.cancel_requested_at is null
        returning c.command_id, c.action, c.session_id
        """,
        {**_parameters(reporter, command_id, attempt), "error": error, "most": RETRY_SECONDS_MOST},
    )


def record_progress(
    conn: Connection, reporter: Reporter, command_id: str, value: Any, *, attempt: int | None
) -> list[Settled]:
    """Store an agent's progress, and start the execution timeout again."""
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set progress = %(progress)s,
            execution_deadline = clock_timestamp() + c.execution_timeout * interval '1 second'
        where c.command_id = %(command_id)s
          and c.agent_id = %(agent_id)s
          and c.status = 'acknowledged'
          and case when %(attempt)s::int is null then c.epoch <= %(epoch)s::bigint else c.attempt = %(attempt)s end
        returning c.command_id, c.action, c.session_id
        """,
        {**_parameters(reporter, command_id, attempt), "progress": _jsonb(value)},
    )


def confirm_cancel(conn: Connection, reporter: Reporter, command_id: str, *, attempt: int | None) -> list[Settled]:
    """Settle an agent's confirmation that it has cancelled a command."""
    return fetch_all(
        conn,
        Settled,
        """
        update agent_commands c
        set status = 'cancelled',
            moves = c.moves + 1,
            completed_at = clock_timestamp(),
            ack_deadline = null,
            execution_deadline = null,
            cause = 'cancelled by its agent'
        where c.command_id = %(command_id)s
          and c.agent_id = %(agent_id)s
          and c.status in ('sent', 'acknowledged')
          and c.cancel_requested_at is not null
          and case when %(attempt)s::int is null then c.epoch <= %(epoch)s::bigint else c.attempt = %(attempt)s end
        returning c.command_id, c.action, c.session_id
        """,
        _parameters(reporter, command_id, attempt),
    )


def command_of_session(conn: Connection, reporter: Reporter, session_id: str) -> str | None:
    """Return the command that an answer with only a session belongs to: the one that was sent first.

    A command that was sent only over newer connections does not count.  A connection that is forgotten already (no epoch) was
    the agent's last one if the agent has none now, and an older one otherwise.
    """
    row = conn.execute(
        """
        select c.command_id
        from commands_by_own_index c
        join agents a using (agent_id)
        where c.agent_id = %(agent_id)s
          and c.listed_session_id = %(session_id)s
          and c.status in ('sent', 'acknowledged', 'timed_out')
          and c.attempt > 0
          and exists (
            select from command_history h
            where h.command_id = c.command_id
              and h.to_status = 'sent'
              and h.epoch <= coalesce(%(epoch)s::bigint, a.epoch - (a.connection_id is not null)::int))
        order by c.status = 'timed_out', c.seq
        limit 1
        """,
        {"agent_id": reporter.agent_id, "session_id": session_id, "epoch": reporter.epoch},
    ).fetchone()
    return row[0] if row else None


def statuses_of(conn: Connection, agent_id: str, command_ids: Sequence[str]) -> dict[str, str]:
    """Return the statuses of those commands that are the agent's own."""
    rows = conn.execute(
        "select command_id, status from agent_commands where command_id = any(%s) and agent_id = %s",
        (list(command_ids), agent_id),
    ).fetchall()
    return dict(rows)


def _parameters(reporter: Reporter, command_id: str, attempt: int | None) -> dict[str, Any]:
    return {
        "agent_id": reporter.agent_id,
        "epoch": reporter.epoch,
        "command_id": command_id,
        "attempt": attempt,
    }


def _jsonb(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value, dumps=dumps)
