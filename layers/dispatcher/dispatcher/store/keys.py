"""Agents' keys, as they are stored: never themselves."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import kwargs_row

from dispatcher.platform.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKey:
    """One of an agent's keys, without the key."""

    key_id: UUID
    created_at: datetime
    created_by: str | None
    revoked_at: datetime | None


def insert(conn: Connection, agent_id: str, key_hash: bytes, operator: str) -> AgentKey:
    """Store a key's hash."""
    with conn.cursor(row_factory=kwargs_row(AgentKey)) as cursor:
        key = cursor.execute(
            """insert into agent_keys (agent_id, key_hash, created_by) values (%s, %s, %s)
               returning key_id, created_at, created_by, revoked_at""",
            (agent_id, key_hash, operator),
        ).fetchone()
    assert key is not None  # noqa: S101 - an insert without a conflict clause returns its row
    return key


def valid(conn: Connection, agent_id: str) -> list[AgentKey]:
    """List an agent's keys that are not revoked."""
    with conn.cursor(row_factory=kwargs_row(AgentKey)) as cursor:
        return cursor.execute(
            """select key_id, created_at, created_by, revoked_at from agent_keys
               where agent_id = %s and revoked_at is null order by created_at""",
            (agent_id,),
        ).fetchall()


def revoke(conn: Connection, agent_id: str, key_id: str) -> bool:
    """Revoke one key; False where the agent has no such key that is valid."""
    row = conn.execute(
        """update agent_keys set revoked_at = now() where agent_id = %s and key_id::text = %s and revoked_at is null
           returning key_id""",
        (agent_id, key_id),
    ).fetchone()
    return row is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose key it is."""

    agent_id: str
    approval: str
    key_id: UUID


def owner_of(conn: Connection, key_hash: bytes) -> Owner | None:
    """Tell whose key this is.

    Looked up by the hash of 256 random bits: an index walk tells nothing about a key to who does not have it, and a wrong key
    takes the same way for an agent that exists and one that does not.
    """
    with conn.cursor(row_factory=kwargs_row(Owner)) as cursor:
        return cursor.execute(
            """select k.agent_id, a.approval, k.key_id from agent_keys k join agents a using (agent_id)
               where k.key_hash = %s and k.revoked_at is null and a.deleted_at is null""",
            (key_hash,),
        ).fetchone()
