"""The agents themselves: read, approved, rejected, deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.access.scopes import AGENT_IN_SCOPE, Scope, as_parameter
from dispatcher.agents import connections
from dispatcher.errors import UnknownAgent
from dispatcher.platform import settings
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.gateway import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent as operators see it."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, Any]
    facts: dict[str, Any]
    capacity: Any
    metadata: Any
    approval: str
    created_at: datetime
    registered_at: datetime | None
    presence: str
    connected_at: datetime | None
    last_seen_at: datetime | None
    active_sessions: int | None
    pending_count: int = 0
    """How many commands wait for it, up to COUNTED."""
    oldest_pending_at: datetime | None = None
    """When the oldest of them was accepted."""

    @classmethod
    def from_row(cls, *, silent: float | None, mute: bool, **columns: Any) -> "Agent":
        """Make an agent of a row's columns (COLUMNS)."""
        return cls(presence=presence_of(silent, mute=mute), **columns)


COUNTED = 200
"""The most pending commands that are counted for an agent: the first ones in the order of delivery."""
COLUMNS = """a.agent_id, a.platform, a.region, a.labels, a.facts, a.capacity, a.metadata, a.approval, a.created_at,
    a.registered_at,
    case when a.connection_id is not null then extract(epoch from now() - a.last_seen_at)::float8 end as silent,
    not a.spoke and a.mute_connections >= 2 as mute,
    a.connected_at, a.last_seen_at, a.active_sessions"""

WAITING_COLUMNS = "waiting.pending_count, waiting.oldest_pending_at"
WAITING = f"""cross join lateral (
        select count(*)::integer as pending_count, min(w.created_at) as oldest_pending_at
        from (
            select q.created_at
            from agent_commands q
            where q.agent_id = a.agent_id
              and q.status = 'pending'
            order by q.priority desc, q.seq
            limit {COUNTED}) as w) as waiting"""
OFFLINE_HEARTBEATS = 5
"""An agent that has been silent for so many heartbeats is offline."""
Presence = Literal["online", "degraded", "offline"]


def presence_sql(presence: Presence) -> str:
    """Return the condition that an agent under the alias `a` has this presence (see `presence_of`)."""
    heartbeat = settings.heartbeat_seconds()
    away = f"a.connection_id is null or a.last_seen_at < now() - {OFFLINE_HEARTBEATS * heartbeat} * interval '1 second'"
    worse = f"a.last_seen_at < now() - {2.5 * heartbeat} * interval '1 second'"
    worse += " or (not a.spoke and a.mute_connections >= 2)"
    return {
        "offline": f"coalesce({away}, true)",
        "degraded": f"not coalesce({away}, true) and ({worse})",
        "online": f"not coalesce({away} or {worse}, true)",
    }[presence]


def presence_of(silent: float | None, *, mute: bool) -> str:
    """Return the presence of an agent that has been silent for so many seconds; None: it is not connected.

    Online: seen within two heartbeats and a half, so that one lost heartbeat changes nothing.  Degraded: connected, but silent
    for up to five heartbeats, or mute: it executes commands and says nothing.
    """
    heartbeat = settings.heartbeat_seconds()
    if silent is None or silent > OFFLINE_HEARTBEATS * heartbeat:
        return "offline"
    return "degraded" if mute or silent > 2.5 * heartbeat else "online"


def insert(
    conn: Connection,
    *,
    agent_id: str,
    platform: str,
    region: str | None,
    labels: Mapping[str, str],
    approval: str,
) -> Agent | None:
    """Insert an agent; None where the id is taken.

    The id of a deleted agent can be used again, by a new agent: nothing of the old one is reachable through it.
    """
    return fetch_one(
        conn,
        Agent.from_row,
        f"""
        insert into agents as a (agent_id, platform, region, labels, approval)
        values (%(agent_id)s, %(platform)s, %(region)s, %(labels)s, %(approval)s)
        on conflict (agent_id) do update
        set platform = excluded.platform,
            region = excluded.region,
            labels = excluded.labels,
            approval = excluded.approval,
            capacity = null,
            metadata = null,
            facts = '{{}}',
            active_sessions = null,
            created_at = now(),
            registered_at = null,
            connected_at = null,
            last_seen_at = null,
            deleted_at = null,
            incarnation = a.incarnation + 1,
            spoke = true,
            mute_connections = 0,
            commanded_at = null,
            dialect = default,
            delivery_window = default
        where a.deleted_at is not null
        returning {COLUMNS}
        """,
        {
            "agent_id": agent_id,
            "platform": platform,
            "region": region,
            "labels": Jsonb(dict(labels)),
            "approval": approval,
        },
    )


def find(conn: Connection, agent_id: str, scope: Scope) -> Agent:
    """Read an agent; raises UnknownAgent."""
    agent = fetch_one(
        conn,
        Agent.from_row,
        f"""
        select {COLUMNS}, {WAITING_COLUMNS}
        from agents a
        {WAITING}
        where a.agent_id = %(agent_id)s
          and a.deleted_at is null
          and {AGENT_IN_SCOPE}
        """.encode(),
        {"agent_id": agent_id, "scope": as_parameter(scope)},
    )
    if agent is None:
        raise UnknownAgent(f"There is no agent {agent_id!r}.", agentId=agent_id)
    return agent


def set_approval(conn: Connection, gateway: Gateway, agent_id: str, approval: str, by: Operator) -> Agent:
    """Approve or reject an agent; a rejected agent loses its connections.  Raises UnknownAgent."""
    with conn.transaction():
        find(conn, agent_id, by.scope)
        # The lease ends, so that a worker that is posting to the agent stops before its next post.
        conn.execute(
            """
            update agents
            set approval = %s,
                lease_token = null,
                lease_expires_at = null
            where agent_id = %s
              and deleted_at is null
            """,
            (approval, agent_id),
        )
        audit_log.record(conn, by.actor, f"agent {approval}", agent_id=agent_id)
    if approval != "approved":
        _close_all(gateway, connections.open_ids(conn, agent_id))
    return find(conn, agent_id, by.scope)


def delete(conn: Connection, gateway: Gateway, agent_id: str, by: Operator) -> None:
    """Delete an agent: its commands are cancelled, its keys revoked and its connections closed; the history stays.

    Raises UnknownAgent.
    """
    with conn.transaction():
        find(conn, agent_id, by.scope)
        conn.execute("update agents set deleted_at = now(), approval = 'rejected' where agent_id = %s", (agent_id,))
        # Each status has an index of its own; locked first, so that a status that changes meanwhile is seen.
        conn.execute(
            """
            with pending as materialized (
                select command_id from agent_commands where agent_id = %(agent_id)s and status = 'pending' for update
            ), sent as materialized (
                select command_id from agent_commands where agent_id = %(agent_id)s and status = 'sent' for update
            ), acknowledged as materialized (
                select command_id from agent_commands where agent_id = %(agent_id)s and status = 'acknowledged' for update
            )
            update agent_commands
            set status = 'cancelled',
                moves = moves + 1,
                completed_at = clock_timestamp(),
                ack_deadline = null,
                execution_deadline = null,
                stop_wanted = false,
                error_message = concat_ws('; the agent reported: ', 'its agent was deleted', agent_error),
                cause = 'its agent was deleted by ' || %(username)s
            where command_id = any(array(
                select command_id from pending
                union all
                select command_id from sent
                union all
                select command_id from acknowledged))
              and status in ('pending', 'sent', 'acknowledged')
            """,
            {"username": by.username, "agent_id": agent_id},
        )
        # Nor is the next agent with this id asked to stop what timed out.
        conn.execute("update agent_commands set stop_wanted = false where agent_id = %s and stop_wanted", (agent_id,))
        conn.execute("update agent_keys set revoked_at = now() where agent_id = %s and revoked_at is null", (agent_id,))
        open_ids = connections.forget_all(conn, agent_id)
        audit_log.record(conn, by.actor, "delete agent", agent_id=agent_id)
    _close_all(gateway, open_ids)


def _close_all(gateway: Gateway, connection_ids: list[str]) -> None:
    for connection_id in connection_ids:
        gateway.close(connection_id)
