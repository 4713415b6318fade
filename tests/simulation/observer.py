"""Reads the rows from outside, over a connection without faults."""

import time
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from dispatcher.commands import loss_check
from dispatcher.errors import EventsGone
from dispatcher.events import feed
from dispatcher.platform.database import Connection
from tests.simulation.history import (
    AgentRow,
    CommandRow,
    History,
    Post,
    QueuedCommand,
    RecordedTransition,
)

if TYPE_CHECKING:
    from tests.simulation.faulty_gateway import AgentConnection

_FEED_PAGE = 3
_FEED_PATIENCE = 20.0
# One second of tolerance: between a claim and this query some milliseconds have passed.
_QUEUE = """
    select c.command_id, c.status, c.attempt, c.session_id, c.priority, c.seq,
        (c.not_before is null or c.not_before < now() - interval '1 second')
            and (c.retry_at is null or c.retry_at < now() - interval '1 second')
            and (c.incarnation is null or c.incarnation = a.incarnation)
            and (c.deliver_by is null or c.deliver_by > now() + interval '1 second') as due,
        coalesce(c.cancel_requested_at < c.sent_at, false) as cancelled_before,
        coalesce(c.deliver_by < now() - interval '1 second', false) as late,
        extract(epoch from greatest(c.not_before, c.retry_at, last.at))::float8 as waits_since,
        extract(epoch from c.sent_at)::float8 as sent_at, claimed.history_id as claim,
        case when c.status = 'sent' then extract(epoch from c.ack_deadline - now())::float8 end as ack_seconds_left
    from agent_commands c join agents a using (agent_id)
    cross join lateral (select max(h.at) as at from command_history h where h.command_id = c.command_id) as last
    cross join lateral (select max(h.history_id) as history_id from command_history h
        where h.command_id = c.command_id and h.to_status = 'sent') as claimed
    where c.agent_id = %s and c.status in ('pending', 'sent') order by c.seq"""
_MUTE = """
    select agent_id from agents
    where not spoke and (mute_connections >= 2
        or commanded_at < now() - case dialect when 'silent' then interval '70 seconds' else interval '12 seconds' end)"""
_STUCK = """
    select c.command_id from agent_commands c join agents a using (agent_id)
    where c.status = 'pending' and a.agent_id = any(%s) and a.approval = 'approved' and a.deleted_at is null
      and (c.not_before is null or c.not_before < now() - interval '1 second')
      and (c.retry_at is null or c.retry_at < now() - interval '1 second')
      and (c.deliver_by is null or c.deliver_by > now() + interval '1 second')
      and (c.incarnation is null or c.incarnation = a.incarnation)
      and (a.live or a.dialect <> 'batching' or %s)
      and (a.throttled_until is null or a.throttled_until < now())
      and (a.lease_expires_at is null or a.lease_expires_at < now())
      and case when a.dialect = 'silent'
        then not exists (select from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent'
            and f.session_id is not distinct from c.session_id)
        else a.delivery_window > (select count(*) from agent_commands f
            where f.agent_id = a.agent_id and f.status = 'sent') end
    order by c.seq"""


class Observer:
    """Reads what the history records."""

    def __init__(self, conn: Connection, history: History) -> None:
        self._conn = conn
        self._history = history
        self._after: feed.Cursor | None = None

    def post(self, connection: "AgentConnection", *, clock: float, now: float) -> Post:
        """Read an agent and its queue when a post begins, and a page of the change feed."""
        self._follow_feed()
        with self._conn.cursor(row_factory=class_row(QueuedCommand)) as cursor:
            queue = tuple(cursor.execute(_QUEUE, (connection.agent_id,)).fetchall())
        return Post(
            begun_at=self._history.tick(),
            clock=clock,
            agent_id=connection.agent_id,
            connection_id=connection.connection_id,
            agent=self.agent(connection.agent_id),
            incarnation=connection.incarnation,
            welcomed=connection.welcomed,
            silent_seconds=connection.silent_seconds(now),
            mute_before=connection.mute_before(),
            queue=queue,
        )

    def commands(self) -> dict[str, CommandRow]:
        """Read every command, in the order of acceptance."""
        with self._conn.cursor(row_factory=class_row(CommandRow)) as cursor:
            cursor.execute(
                """select command_id, agent_id, action, session_id, status, attempt, max_attempts, epoch,
                   (select min(h.epoch) from command_history h
                       where h.command_id = c.command_id and h.to_status = 'sent') as first_epoch,
                   seq, cancel_requested_at is not null as cancel_requested,
                   exists (select from command_history h where h.command_id = c.command_id
                       and h.cause = 'cancelled by its agent') as cancel_confirmed,
                   coalesce((select max(h.attempt) from command_history h where h.command_id = c.command_id
                       and (h.cause like '%asks for another%' or h.cause = 'lost by its agent')), 0) as given_up,
                   redeliver_after_ack, incarnation, created_at, sent_at, acknowledged_at, completed_at, submitted_by,
                   idempotency_key
                   from agent_commands c order by seq"""
            )
            return {command.command_id: command for command in cursor}

    def progress(self, command_id: str) -> int | None:
        """Read a command's progress."""
        row = self._conn.execute("select progress from agent_commands where command_id = %s", (command_id,)).fetchone()
        return row[0] if row else None

    def epoch_of(self, agent_id: str, connection_id: str) -> int:
        """Read a connection's epoch; -1 where the dispatcher does not know the connection."""
        row = self._conn.execute(
            "select epoch from agent_connections where connection_id = %s and agent_id = %s", (connection_id, agent_id)
        ).fetchone()
        return row[0] if row else -1

    def agent(self, agent_id: str) -> AgentRow:
        """Read an agent."""
        with self._conn.cursor(row_factory=class_row(AgentRow)) as cursor:
            agent = cursor.execute(
                """select epoch, connection_id, dialect as mode, delivery_window as window, lease_token::text as lease,
                   last_seen_at::text as last_seen, incarnation, deleted_at is not null as deleted
                   from agents where agent_id = %s""",
                (agent_id,),
            ).fetchone()
        assert agent is not None
        return agent

    def admits(self, agent_id: str, key_id: str | None) -> bool:
        """Tell whether an agent may speak over a connection that this key opened."""
        row = self._conn.execute(
            """select 1 from agents a where agent_id = %s and approval = 'approved' and deleted_at is null
               and not exists (select from agent_keys k where k.key_id::text = %s and k.revoked_at is not null)""",
            (agent_id, key_id),
        ).fetchone()
        return row is not None

    def valid_key(self, agent_id: str) -> str | None:
        """Read the newest valid key of an agent."""
        row = self._conn.execute(
            """select key_id::text from agent_keys where agent_id = %s and revoked_at is null
               order by created_at desc limit 1""",
            (agent_id,),
        ).fetchone()
        return row[0] if row else None

    def lost_by_agents(self) -> set[str]:
        """Return the commands that their agents do not execute any more, as they said themselves."""
        rows = self._conn.execute("select command_id from command_history where cause = 'lost by its agent'")
        return {row[0] for row in rows}

    def mute_agents(self) -> set[str]:
        """Return the agents that the dispatcher sends nothing, because they executed and said nothing."""
        return {row[0] for row in self._conn.execute(_MUTE)}

    def alive_of(self, agent_id: str, incarnation: int) -> tuple[str, ...]:
        """Return the commands of an agent, not of an earlier one with its id, that have not ended."""
        rows = self._conn.execute(
            """select command_id from agent_commands where agent_id = %s and incarnation = %s
               and status in ('pending', 'sent', 'acknowledged') order by seq""",
            (agent_id, incarnation),
        )
        return tuple(row[0] for row in rows)

    def stuck_commands(self, healthy_agents: list[str], *, unwelcomed: bool) -> tuple[str, ...]:
        """Return the pending commands of these agents that nothing delays.

        `unwelcomed` includes agents of protocol 2 that have got no welcome.
        """
        return tuple(row[0] for row in self._conn.execute(_STUCK, (healthy_agents, unwelcomed)))

    def can_be_told(self, agent_ids: list[str]) -> list[str]:
        """Return those of these agents whose delivery nothing delays at the moment."""
        rows = self._conn.execute(
            """select agent_id from agents where agent_id = any(%s) and approval = 'approved' and deleted_at is null
               and live and connection_id is not null
               and (throttled_until is null or throttled_until < now())
               and (lease_expires_at is null or lease_expires_at < now())""",
            (agent_ids,),
        )
        return [row[0] for row in rows]

    def lengthen_pauses(self, seconds: float) -> None:
        """Make short pauses as long as this, so that a slow machine does not use them up between two steps."""
        for table, column in (("agents", "throttled_until"), ("agent_commands", "retry_at")):
            self._conn.execute(
                f"update {table} set {column} = now() + {seconds} * interval '1 second'"
                f" where {column} between now() and now() + {seconds} * interval '1 second'".encode()
            )

    def has_unfinished(self, agent_id: str | None = None) -> bool:
        """Tell whether a command has not ended, of one agent or of any."""
        row = self._conn.execute(
            """select 1 from agent_commands where status in ('pending', 'sent', 'acknowledged')
               and agent_id = coalesce(%s, agent_id) limit 1""",
            (agent_id,),
        ).fetchone()
        return row is not None

    def _follow_feed(self) -> bool:
        """Read the next events of the change feed; return whether there were any."""
        try:
            page = feed.read(self._conn, after=self._after or feed.oldest(self._conn), limit=_FEED_PAGE)
        except EventsGone:  # a planted fault deletes history
            page = feed.read(self._conn, after=feed.oldest(self._conn), limit=_FEED_PAGE)
        self._after = page.after
        self._history.told += page.events
        return bool(page.events)

    def _read_feed_to_its_end(self) -> None:
        """Read the events that are left; transactions of other databases on this server may hold them back for a moment."""
        end = time.monotonic() + _FEED_PATIENCE
        while self._follow_feed() or (loss_check.figure(self._conn, "feed_lag_seconds") and time.monotonic() < end):
            pass

    def record_end(self) -> None:
        """Read all commands and all transitions into the history."""
        self._history.commands = list(self.commands().values())
        with self._conn.cursor(row_factory=class_row(RecordedTransition)) as transitions:
            self._history.transitions = transitions.execute(
                """select history_id, command_id, from_status, to_status, attempt, cause, at from command_history
                   order by history_id"""
            ).fetchall()
        self._read_feed_to_its_end()
