"""The audit log: who did what to which agent and command, and from where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from dispatcher.platform.database import Connection, fetch_all
from dispatcher.platform.json_text import dumps, storable


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, from which address, with which API token (None: without one), and why, if they said it."""

    name: str
    source_ip: str | None = None
    token_id: UUID | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry."""

    audit_id: int
    at: datetime
    actor: str
    source_ip: str | None
    token_id: UUID | None
    action: str
    agent_id: str | None
    command_id: str | None
    command_ids: list[str] | None
    """Of commands that were submitted as one list: the first SHOWN of them."""
    detail: Any


SHOWN = 100
"""The most ids of one entry: a page has many entries, and a list up to a thousand commands."""

_INSERT = "insert into audit_log (actor, source_ip, token_id, action, detail, agent_id, command_id)"
_VALUES = "%(actor)s, %(source_ip)s, %(token_id)s::uuid, %(audited)s, %(detail)s::jsonb"


def record(
    conn: Connection,
    actor: Actor,
    action: str,
    *,
    agent_id: str | None = None,
    command_id: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add an entry.  Call it in the transaction of the action, so that both are committed or neither.

    `action` is a value that callers of GET /api/v1/audit compare with: never change one.
    """
    parameters = {**parameters_of(actor, action, detail=detail), "agent_id": agent_id, "command_id": command_id}
    conn.execute(f"{_INSERT} values ({_VALUES}, %(agent_id)s, %(command_id)s)", parameters)


def insert_from(source: LiteralString) -> LiteralString:
    """Return the statement, or the part of one, that adds an entry for each row of `source`, with its agent and command.

    Its parameters are `parameters_of`.
    """
    return f"{_INSERT} select {_VALUES}, agent_id, command_id from {source}"


def parameters_of(actor: Actor, action: str, *, detail: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the parameters of an entry."""
    if actor.reason is not None:
        detail = {**(detail or {}), "reason": actor.reason}
    return {
        "actor": actor.name,
        "source_ip": actor.source_ip,
        "token_id": actor.token_id,
        "audited": action,
        "detail": None if detail is None else Jsonb(storable(detail), dumps=dumps),
    }


def list_page(
    conn: Connection, *, agent_id: str | None, command_id: str | None, actor: str | None, before: int | None, limit: int
) -> list[Entry]:
    """Read a page of entries, newest first, with an `audit_id` below `before`.

    A search for a command that was submitted with others finds their common entry.
    """
    return fetch_all(
        conn,
        Entry,
        """
        select audit_id, at, actor, source_ip, token_id, action, agent_id, command_id,
            command_ids[1 : %(shown)s] as command_ids, detail
        from audit_log
        where (%(agent_id)s::text is null or agent_id = %(agent_id)s)
          and (%(command_id)s::text is null or audit_id = any(array(
            select e.audit_id
            from audit_log e
            where e.command_id = %(command_id)s
            union all
            select e.audit_id
            from audit_log e
            where right(e.command_ids[1], 19) = right(%(command_id)s, 19)
              and e.command_ids is not null
              and %(command_id)s = any(e.command_ids))))
          and (%(actor)s::text is null or actor = %(actor)s)
          and (%(before)s::bigint is null or audit_id < %(before)s)
        order by audit_id desc
        limit %(limit)s
        """,
        {
            "agent_id": agent_id,
            "command_id": command_id,
            "actor": actor,
            "before": before,
            "limit": limit,
            "shown": SHOWN,
        },
    )
