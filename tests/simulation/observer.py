"""Looks at the rows from outside, over a connection that nothing happens to."""

from typing import TYPE_CHECKING

from psycopg.rows import class_row

from dispatcher.platform.database import Connection
from tests.simulation.record import Final, Moved, Post, Queued, Record, Route, Row

if TYPE_CHECKING:
    from tests.simulation.gateway import Socket

# A second of tolerance: between a claim and this look a few milliseconds have passed.
_QUEUE = """
    select c.command_id, c.status, c.attempt, c.max_attempts, c.session_id, c.priority, c.seq,
        (c.not_before is null or c.not_before < now() - interval '1 second')
            and (c.deliver_by is null or c.deliver_by > now() + interval '1 second') as due,
        coalesce(c.deliver_by < now() - interval '1 second', false) as late,
        case when c.status = 'sent' then extract(epoch from c.ack_deadline - now())::float8 end as held
    from agent_commands c where c.agent_id = %s and c.status in ('pending', 'sent') order by c.seq"""
_STUCK = """
    select c.command_id from agent_commands c join agents a using (agent_id)
    where c.status = 'pending' and a.agent_id = any(%s) and a.approval = 'approved' and a.deleted_at is null
      and (c.not_before is null or c.not_before < now() - interval '1 second')
      and (c.deliver_by is null or c.deliver_by > now() + interval '1 second')
      and (a.throttled_until is null or a.throttled_until < now())
      and (a.lease_expires_at is null or a.lease_expires_at < now())
      and case when a.dialect = 'silent'
        then not exists (select from agent_commands f where f.agent_id = a.agent_id and f.status = 'sent'
            and f.session_id is not distinct from c.session_id)
        else a.delivery_window > (select count(*) from agent_commands f
            where f.agent_id = a.agent_id and f.status = 'sent') end
    order by c.seq"""


class Observer:
    """Reads what the record needs."""

    def __init__(self, conn: Connection, record: Record) -> None:
        self._conn = conn
        self._record = record

    def post(self, socket: "Socket", *, clock: float, open_transactions: int) -> Post:
        """Look at an agent and its queue."""
        with self._conn.cursor(row_factory=class_row(Queued)) as cursor:
            queue = tuple(cursor.execute(_QUEUE, (socket.agent_id,)).fetchall())
        row = self._conn.execute(
            "select connection_id, dialect, delivery_window, lease_token::text from agents where agent_id = %s",
            (socket.agent_id,),
        ).fetchone()
        assert row is not None
        return Post(
            at=self._record.tick(),
            clock=clock,
            agent_id=socket.agent_id,
            connection_id=socket.connection_id,
            current=row[0],
            dialect=row[1],
            window=row[2],
            lease=row[3],
            first=False,
            open_transactions=open_transactions,
            carried=(),
            queue=queue,
        )

    def rows(self) -> dict[str, Row]:
        """Read where every command is."""
        return {
            command_id: Row(
                agent_id=agent_id,
                session_id=session_id,
                status=status,
                attempt=attempt,
                max_attempts=most,
                epoch=epoch,
                first_epoch=first_epoch,
                seq=seq,
                cancel_requested=asked,
            )
            for command_id, agent_id, session_id, status, attempt, most, epoch, first_epoch, seq, asked in self._conn.execute(
                """select command_id, agent_id, session_id, status, attempt, max_attempts, epoch,
                   (select min(h.epoch) from command_history h
                       where h.command_id = c.command_id and h.to_status = 'sent'), seq,
                   cancel_requested_at is not null from agent_commands c"""
            )
        }

    def epoch_of(self, agent_id: str, connection_id: str) -> int:
        """Tell which connection this is to the service; -1 for one that it does not know."""
        row = self._conn.execute(
            "select epoch from agent_connections where connection_id = %s and agent_id = %s", (connection_id, agent_id)
        ).fetchone()
        return row[0] if row else -1

    def route(self, agent_id: str) -> Route:
        """Read where an agent's commands go."""
        with self._conn.cursor(row_factory=class_row(Route)) as cursor:
            route = cursor.execute(
                """select epoch, connection_id, dialect, delivery_window as window, last_seen_at::text as last_seen
                   from agents where agent_id = %s""",
                (agent_id,),
            ).fetchone()
        assert route is not None
        return route

    def stuck(self, healthy: list[str]) -> tuple[str, ...]:
        """Name the pending commands that nothing holds back."""
        return tuple(row[0] for row in self._conn.execute(_STUCK, (healthy,)))

    def alive(self, agent_id: str | None = None) -> int:
        """Count the commands that have not ended, of one agent or of all."""
        row = self._conn.execute(
            """select count(*) from agent_commands where status in ('pending', 'sent', 'acknowledged')
               and agent_id = coalesce(%s, agent_id)""",
            (agent_id,),
        ).fetchone()
        return row[0] if row else 0

    def finish(self) -> None:
        """Read all rows and the whole history into the record."""
        with self._conn.cursor(row_factory=class_row(Final)) as finals:
            finals.execute(
                """select command_id, agent_id, action, status, attempt, max_attempts, seq, created_at, sent_at,
                   acknowledged_at, completed_at, deliver_by, error_message, submitted_by, idempotency_key
                   from agent_commands order by seq"""
            )
            self._record.finals = {final.command_id: final for final in finals}
        with self._conn.cursor(row_factory=class_row(Moved)) as moves:
            self._record.history = moves.execute(
                """select command_id, from_status, to_status, attempt, cause, at from command_history
                   order by history_id"""
            ).fetchall()
