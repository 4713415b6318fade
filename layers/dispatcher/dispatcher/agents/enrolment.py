"""Creating agents, enrolling them with a token, and registering them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.audit_log import Actor
from dispatcher.access.credentials import key_hash, new_key
from dispatcher.access.roles import Operator
from dispatcher.agents import agent_keys, registry
from dispatcher.agents.registry import COLUMNS, Agent
from dispatcher.errors import Conflict, NotAllowed, NotAuthenticated
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to create."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnrolmentToken:
    """A token to create: for one agent id, or for all ids with a prefix."""

    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    uses: int
    ttl_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentToken:
    """An enrolment token without its secret."""

    token_id: UUID
    agent_id: str | None
    prefix: str | None
    labels: dict[str, str]
    approved: bool
    uses_left: int
    created_by: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What an agent says about itself when it registers."""

    agent_id: str
    platform: str
    region: str | None
    capacity: Any
    metadata: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An agent that has registered; `key` is set if it has just enrolled."""

    agent: Agent
    key: str | None = None


_COLUMNS = "token_id, agent_id, prefix, labels, approved, uses_left, created_by, expires_at"
_WRONG_KEY = "The agent's id and key do not belong together."


def create_agent(conn: Connection, new: NewAgent, by: Operator) -> tuple[Agent, str]:
    """Create an agent with its first key; return both.

    Raises Conflict if the id is taken, and NotAllowed if the operator could not see the agent afterwards.
    """
    _require_own_labels(new.labels, by)
    with conn.transaction():
        agent = registry.insert(
            conn,
            agent_id=new.agent_id,
            platform=new.platform,
            region=new.region,
            labels=new.labels,
            approval="approved",
        )
        if agent is None:
            raise Conflict(
                f"Agent {new.agent_id!r} exists already; POST /api/v1/agents/{new.agent_id}/keys gives it a key."
            )
        _, secret = agent_keys.add(conn, new.agent_id, by.username)
        audit_log.record(conn, by.actor, "provide agent", agent_id=new.agent_id)
    return agent, secret


def create_token(conn: Connection, new: NewEnrolmentToken, by: Operator) -> tuple[EnrolmentToken, str]:
    """Create an enrolment token; return it with its secret, which is shown once.

    Raises NotAllowed if the operator could not see the agents that enrol with it.
    """
    _require_own_labels(new.labels, by)
    secret, token_hash = new_key()
    with conn.transaction():
        token = fetch_one(
            conn,
            EnrolmentToken,
            f"""
            insert into enrolment_tokens
                (token_hash, agent_id, prefix, labels, approved, uses_left, created_by, expires_at)
            values (%s, %s, %s, %s, %s, %s, %s, now() + %s * interval '1 second')
            returning {_COLUMNS}
            """,
            (
                token_hash,
                new.agent_id,
                new.prefix,
                Jsonb(new.labels),
                new.approved,
                new.uses,
                by.username,
                new.ttl_seconds,
            ),
        )
        assert token is not None  # noqa: S101 - an insert without a conflict clause returns its row
        subject = new.agent_id or f"{new.prefix}…"
        detail = {"tokenId": str(token.token_id), "for": subject, "uses": new.uses, "approved": new.approved}
        audit_log.record(conn, by.actor, "make enrolment token", agent_id=new.agent_id, detail=detail)
    return token, secret


def register(conn: Connection, key: str | None, registration: Registration, source_ip: str | None) -> Registered:
    """Record what an agent says about itself; with an enrolment token instead of a key, create the agent and its key.

    Raises the same NotAuthenticated for an unknown agent, a wrong key and a token that is not valid for the id.
    """
    issued = None
    if agent_keys.owner_of(conn, key, registration.agent_id) is None:
        issued = _enrol(conn, key, registration, source_ip)
    agent = fetch_one(
        conn,
        Agent.from_row,
        f"""
        update agents a
        set platform = %s,
            region = coalesce(%s, a.region),
            capacity = %s,
            metadata = %s,
            registered_at = now()
        where a.agent_id = %s
          and a.deleted_at is null
        returning {COLUMNS}
        """,
        (
            registration.platform,
            registration.region,
            Jsonb(registration.capacity, dumps=dumps),
            Jsonb(registration.metadata, dumps=dumps),
            registration.agent_id,
        ),
    )
    if agent is None:
        raise NotAuthenticated(_WRONG_KEY)
    logger.info("Agent registered", extra={"agent_id": agent.agent_id, "approval": agent.approval})
    return Registered(agent=agent, key=issued)


def _enrol(conn: Connection, token: str | None, registration: Registration, source_ip: str | None) -> str:
    """Create an agent with an enrolment token, and return its key; raises NotAuthenticated."""
    with conn.transaction():
        used = _use_token(conn, key_hash(token or ""), registration.agent_id)
        if used is None:
            raise NotAuthenticated(_WRONG_KEY)
        agent = registry.insert(
            conn,
            agent_id=registration.agent_id,
            platform=registration.platform,
            region=registration.region,
            labels=used.labels,
            approval="approved" if used.approved else "pending",
        )
        if agent is None:
            # A token creates agents; it gives no access to an existing one.
            raise NotAuthenticated(_WRONG_KEY)
        _, secret = agent_keys.add(conn, registration.agent_id, used.created_by)
        actor = Actor(name=f"agent {registration.agent_id}", source_ip=source_ip)
        detail = {"tokenId": str(used.token_id)}
        audit_log.record(conn, actor, "enrol", agent_id=registration.agent_id, detail=detail)
    return secret


def _use_token(conn: Connection, token_hash: bytes, agent_id: str) -> EnrolmentToken | None:
    """Use a token once for an agent id; None if it is not valid for this id, used up or expired."""
    return fetch_one(
        conn,
        EnrolmentToken,
        f"""
        update enrolment_tokens
        set uses_left = uses_left - 1
        where token_hash = %s
          and uses_left > 0
          and expires_at > now()
          and (agent_id = %s or starts_with(%s, prefix))
        returning {_COLUMNS}
        """,
        (token_hash, agent_id, agent_id),
    )


def _require_own_labels(labels: dict[str, str], by: Operator) -> None:
    missing = {name: value for name, value in (by.scope or {}).items() if labels.get(name) != value}
    if missing:
        names = ", ".join(f"{name}={value}" for name, value in missing.items())
        raise NotAllowed(f"New agents must carry your labels; missing: {names}.", missingLabels=missing)
