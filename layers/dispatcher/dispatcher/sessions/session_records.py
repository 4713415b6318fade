"""Sessions as they are stored: what operators asked an agent to hold, and what the agent says about them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access.scopes import AGENT_IN_SCOPE, IN_SCOPE, Scope, as_parameter
from dispatcher.errors import UnknownSession
from dispatcher.platform.database import Connection, fetch_all, fetch_one
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger
from dispatcher.protocol.decoding import SessionStatus

REPORTED_STATES = frozenset({"pending", "running", "hibernated", "terminated", "failed"})
"""The states that an agent may report for a session."""

# A session belongs to one incarnation of its agent: whoever may see the new agent of an old id does not see its old sessions.
_IN_SCOPE = f"""(%(scope)s::jsonb is null or exists (
    select from agents a
    where a.agent_id = c.agent_id
      and a.incarnation = c.incarnation
      and {IN_SCOPE}))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session that an agent holds."""

    name: str
    agent_id: str
    owner: str
    template: str
    resources: dict[str, Any]
    persistent_home: bool
    state: str
    details: Any
    template_manifest: dict[str, Any] | None
    """Only where one session is read; lists leave it out."""
    created_at: datetime
    updated_at: datetime


_LISTED = """name, agent_id, owner, template, resources, persistent_home, state, details,
    null::jsonb as template_manifest, created_at, updated_at"""
_COLUMNS = """name, agent_id, owner, template, resources, persistent_home, state, details,
    template_manifest, created_at, updated_at"""


def insert(
    conn: Connection,
    *,
    name: str,
    agent_id: str,
    owner: str,
    template: str,
    resources: dict[str, str],
    persistent_home: bool,
    template_manifest: dict[str, Any] | None = None,
) -> Session | None:
    """Insert a session that is about to be started; None if the name is taken."""
    return fetch_one(
        conn,
        Session,
        f"""
        insert into sessions (name, agent_id, owner, template, resources, persistent_home, template_manifest)
        values (%s, %s, %s, %s, %s, %s, %s)
        on conflict (name) do nothing
        returning {_COLUMNS}
        """,
        (name, agent_id, owner, template, Jsonb(resources), persistent_home, _jsonb(template_manifest)),
    )


def get(conn: Connection, name: str, scope: Scope) -> Session | None:
    """Read a session."""
    return fetch_one(
        conn,
        Session,
        f"select {_COLUMNS} from sessions c where name = %(name)s and {_IN_SCOPE}",
        {"name": name, "scope": as_parameter(scope)},
    )


def find(conn: Connection, name: str, scope: Scope) -> Session:
    """Read a session; raises UnknownSession."""
    session = get(conn, name, scope)
    if session is None:
        raise UnknownSession(f"There is no session {name!r}.", session=name)
    return session


def list_page(conn: Connection, *, scope: Scope, after: str | None, limit: int) -> list[Session]:
    """Read a page of sessions, ordered by name, with a name above `after`."""
    return fetch_all(
        conn,
        Session,
        f"""
        select {_LISTED}
        from sessions c
        where (%(after)s::text is null or name > %(after)s)
          and {_IN_SCOPE}
        order by name
        limit %(limit)s
        """,
        {"scope": as_parameter(scope), "after": after, "limit": limit},
    )


def choose_agent(conn: Connection, scope: Scope) -> str | None:
    """Choose the agent for a new session: connected agents first, then the one with the fewest sessions."""
    row = conn.execute(
        f"""
        select a.agent_id
        from agents a
        where a.deleted_at is null
          and a.approval = 'approved'
          and {AGENT_IN_SCOPE}
        order by
            a.connection_id is null,
            (select count(*) from sessions s where s.agent_id = a.agent_id and s.state not in ('terminated', 'failed')),
            a.last_seen_at desc nulls last,
            a.agent_id
        limit 1
        """,
        {"scope": as_parameter(scope)},
    ).fetchone()
    return row[0] if row else None


def set_state(
    conn: Connection, agent_id: str, name: str, state: str | None, details: Any = None, *, said_at: int | None = None
) -> bool:
    """Store what an agent says about one of its sessions; None: it says nothing new.  False: it has no such session.

    Details are merged.  What was said before (`said_at`, see `Said`) the state that is stored puts nothing back.  How sessions
    follow their commands is in schema/0006 and 0010.
    """
    row = conn.execute(
        "select session_reported(%s, %s, %s, %s, least(to_timestamp(%s / 1000.0), now()))",
        (agent_id, name, state, _jsonb(details), said_at),
    ).fetchone()
    return bool(row and row[0])


def end_without_agent(conn: Connection, name: str) -> Session | None:
    """End a session whose agent was deleted while the session was being recorded; None for any other session."""
    return fetch_one(
        conn,
        Session,
        f"""
        update sessions c
        set state = 'terminated',
            known_state = 'terminated',
            doubts = '{{}}',
            updated_at = now()
        where name = %s
          and not exists (
            select from agents a
            where a.agent_id = c.agent_id
              and a.incarnation = c.incarnation
              and a.deleted_at is null)
        returning {_COLUMNS}
        """,
        (name,),
    )


class SessionStates:
    """Keeps sessions up to date with what agents report about them (a `SessionObserver`)."""

    def reported(self, conn: Connection, agent_id: str, status: SessionStatus, said_at: int | None) -> None:
        """Store the agent's report about one of its own sessions."""
        state = status.state if status.state in REPORTED_STATES else None
        if not set_state(conn, agent_id, status.session_id, state, status.details, said_at=said_at):
            logger.warning(
                "Status of no session of this agent", extra={"agent_id": agent_id, "session_id": status.session_id}
            )


def _jsonb(value: Any) -> Jsonb | None:
    return None if value is None else Jsonb(value, dumps=dumps)
