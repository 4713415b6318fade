"""Agents' keys: issued, shown once, stored as a hash, rotated, revoked."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from string import hexdigits
from uuid import UUID

from dispatcher.access import audit_log
from dispatcher.access.credentials import KEY_DIGITS, key_hash, new_key
from dispatcher.access.roles import Operator
from dispatcher.agents import connections, registry
from dispatcher.errors import AgentNotAuthenticated, Conflict, NotFound
from dispatcher.platform.database import Connection, fetch_all, fetch_one
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.hot_statements import HotStatement

KEYS_AT_ONCE = 2
"""Valid keys that an agent may have: the one in use and the one that replaces it."""
HEADER = "X-Agent-Api-Key"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKey:
    """One of an agent's keys, without the key itself."""

    key_id: UUID
    position: int
    created_at: datetime
    created_by: str | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOwner:
    """The agent that a key belongs to."""

    agent_id: str
    approval: str
    key_id: UUID


_OWNER = HotStatement(
    b"""
    select k.agent_id, a.approval, k.key_id
    from agent_keys k
    join agents a using (agent_id)
    where k.key_hash = %(hash)s
      and k.revoked_at is null
      and a.deleted_at is null
    """
)
_COLUMNS = "key_id, position, created_at, created_by, revoked_at"


def add(conn: Connection, agent_id: str, created_by: str) -> tuple[AgentKey, str]:
    """Create a key for an agent and store its hash; return it with its secret.  Call it in a transaction."""
    secret, hashed = new_key()
    key = fetch_one(
        conn,
        AgentKey,
        f"insert into agent_keys (agent_id, key_hash, created_by) values (%s, %s, %s) returning {_COLUMNS}",
        (agent_id, hashed, created_by),
    )
    assert key is not None  # noqa: S101 - an insert without a conflict clause returns its row
    return key, secret


def add_enrolled(conn: Connection, agent_id: str, key: str, created_by: str, *, token_id: UUID, salt: bytes) -> None:
    """Store the hash of the key that an enrolment token gave an agent, with what it was computed from."""
    conn.execute(
        """
        insert into agent_keys (agent_id, key_hash, created_by, enrolled_with, enrolment_salt)
        values (%s, %s, %s, %s, %s)
        """,
        (agent_id, key_hash(key), created_by, token_id, salt),
    )


def issue(conn: Connection, agent_id: str, by: Operator) -> tuple[AgentKey, str]:
    """Give an agent one more key; return it with its secret.

    Raises UnknownAgent, and Conflict if it has KEYS_AT_ONCE valid keys already.
    """
    with conn.transaction():
        registry.find(conn, agent_id, by.scope)
        # Otherwise two requests at once could both see room for one more key.
        conn.execute("select from agents where agent_id = %s for no key update", (agent_id,))
        if len(_valid(conn, agent_id)) >= KEYS_AT_ONCE:
            raise Conflict(f"Agent {agent_id!r} has {KEYS_AT_ONCE} keys already; revoke one first.")
        key, secret = add(conn, agent_id, by.username)
        audit_log.record(conn, by.actor, "issue key", agent_id=agent_id, detail={"keyId": str(key.key_id)})
    return key, secret


def list_page(conn: Connection, agent_id: str, by: Operator, *, after: int, limit: int) -> list[AgentKey]:
    """Read a page of an agent's valid keys, oldest first, with a `position` above `after`; raises UnknownAgent."""
    registry.find(conn, agent_id, by.scope)
    return _valid(conn, agent_id, after=after, limit=limit)


def revoke(conn: Connection, gateway: Gateway, agent_id: str, key_id: str, by: Operator) -> None:
    """Revoke a key and close the connections that it opened, which would last for 2 h.

    Raises UnknownAgent, and NotFound if the agent has no such valid key.
    """
    key_id = key_id.lower()
    with conn.transaction():
        registry.find(conn, agent_id, by.scope)
        revoked = conn.execute(
            """
            update agent_keys
            set revoked_at = now()
            where agent_id = %s
              and key_id::text = %s
              and revoked_at is null
            """,
            (agent_id, key_id),
        ).rowcount
        if not revoked:
            raise NotFound(f"Agent {agent_id!r} has no such key.")
        connections.stop_posting(conn, agent_id, key_id)
        audit_log.record(conn, by.actor, "revoke key", agent_id=agent_id, detail={"keyId": key_id})
    for connection_id in connections.open_ids(conn, agent_id, key_id):
        gateway.close(connection_id)


def key_of(headers: Mapping[str, str]) -> str:
    """Return the key in an agent's headers (with lower-case names).

    Raises AgentNotAuthenticated, which says what the header should be; it depends on nothing that is stored.
    """
    key = headers.get(HEADER.lower(), "").strip()
    wanted = f"Send the agent's key, {KEY_DIGITS} hexadecimal digits, in the header `{HEADER}`"
    if not key:
        where = "; this path does not read `Authorization`" if "authorization" in headers else ""
        raise AgentNotAuthenticated(f"{wanted}{where}.")
    if len(key) != KEY_DIGITS or not all(digit in hexdigits for digit in key):
        raise AgentNotAuthenticated(f"{wanted}; this value has another form.")
    return key


def owner_of(conn: Connection, key: str | None, agent_id: str) -> KeyOwner | None:
    """Return the owner of a key if it is this agent; None for every wrong pair.

    The look-up is by the hash of 256 random bits: its timing reveals nothing about valid keys or existing agents.
    """
    rows = _OWNER.fetch(conn, {"hash": key_hash(key or "")})
    owner = KeyOwner(agent_id=rows[0][0], approval=rows[0][1], key_id=rows[0][2]) if rows else None
    return owner if owner and hmac.compare_digest(_bytes(owner.agent_id), _bytes(agent_id)) else None


def _valid(conn: Connection, agent_id: str, *, after: int = 0, limit: int = KEYS_AT_ONCE) -> list[AgentKey]:
    return fetch_all(
        conn,
        AgentKey,
        f"""
        select {_COLUMNS}
        from agent_keys
        where agent_id = %s
          and position > %s
          and revoked_at is null
        order by position
        limit %s
        """,
        (agent_id, after, limit),
    )


def _bytes(text: str) -> bytes:
    """Encode an id; a header or a query may hold what no id has."""
    return text.encode("utf-8", "surrogatepass")
