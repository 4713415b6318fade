"""Sessions: what operators asked an agent to hold, and what it says of them."""

from typing import Any

from psycopg.rows import kwargs_row
from psycopg.types.json import Jsonb

from dispatcher.commands.model import Session
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps, storable
from dispatcher.store import scopes
from dispatcher.store.scopes import Scope

_COLUMNS = "name, agent_id, owner, template, resources, persistent_home, state, details, created_at, updated_at"
REPORTED_STATES = frozenset({"pending", "running", "hibernated", "terminated", "failed"})
"""The states that an agent's own word can put a session into."""


def insert(
    conn: Connection,
    *,
    name: str,
    agent_id: str,
    owner: str,
    template: str,
    resources: dict[str, str],
    persistent_home: bool,
) -> Session | None:
    """Record a session that is about to be started; None where the name is taken."""
    with conn.cursor(row_factory=kwargs_row(Session)) as cursor:
        return cursor.execute(
            f"""insert into sessions (name, agent_id, owner, template, resources, persistent_home)
                values (%s, %s, %s, %s, %s, %s) on conflict (name) do nothing returning {_COLUMNS}""",
            (name, agent_id, owner, template, Jsonb(resources), persistent_home),
        ).fetchone()


def get(conn: Connection, name: str, scope: Scope) -> Session | None:
    """Read one session."""
    with conn.cursor(row_factory=kwargs_row(Session)) as cursor:
        return cursor.execute(
            f"select {_COLUMNS} from sessions c where name = %(name)s and {scopes.OF_AGENT}",
            {"name": name, "scope": scopes.as_parameter(scope)},
        ).fetchone()


def list_page(conn: Connection, *, scope: Scope, after: str | None, limit: int) -> list[Session]:
    """Read a page of sessions in the order of their names."""
    with conn.cursor(row_factory=kwargs_row(Session)) as cursor:
        return cursor.execute(
            f"""select {_COLUMNS} from sessions c where (%(after)s::text is null or name > %(after)s) and {scopes.OF_AGENT}
                order by name limit %(limit)s""",
            {"scope": scopes.as_parameter(scope), "after": after, "limit": limit},
        ).fetchall()


def note(conn: Connection, agent_id: str, name: str, state: str | None, details: Any = None) -> bool:
    """Note what is known of a session of this very agent; None leaves it.  False: the agent holds no such session."""
    row = conn.execute(
        """update sessions set state = coalesce(%s, state), details = coalesce(%s, details), updated_at = now()
           where name = %s and agent_id = %s returning name""",
        (state, None if details is None else Jsonb(storable(details), dumps=dumps), name, agent_id),
    ).fetchone()
    return row is not None
