"""Creating agents, enrolling them with a token, and registering them."""

import secrets
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.audit_log import Actor
from dispatcher.access.credentials import enrolled_key, key_hash
from dispatcher.access.roles import Operator
from dispatcher.agents import agent_keys, enrolment_tokens, registry
from dispatcher.agents.agent_ids import require_nameable
from dispatcher.agents.agent_keys import KeyOwner
from dispatcher.agents.enrolment_tokens import EnrolmentToken
from dispatcher.agents.registry import COLUMNS, Agent
from dispatcher.errors import AgentNotAuthenticated, AgentRejected, Conflict
from dispatcher.platform.database import Connection, fetch_one
from dispatcher.platform.json_text import dumps
from dispatcher.platform.observability import logger

LOST_ANSWER_SECONDS = 600
"""For so long after its enrolment an agent that has not connected yet gets its key again."""
WAITING_DAYS = 7
"""For so long an agent that needed an approval, and has not connected yet, gets its key again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to create."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What an agent says about itself when it registers."""

    agent_id: str
    platform: str
    region: str | None
    capacity: Any
    metadata: Any
    facts: dict[str, Any] | None = None
    """None: it says nothing about them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An agent that has registered; `key` is set if it showed an enrolment token."""

    agent: Agent
    key: str | None = None


_WRONG_KEY = "The agent's id and key do not belong together."


def create_agent(conn: Connection, new: NewAgent, by: Operator) -> tuple[Agent, str]:
    """Create an agent with its first key; return both.

    Raises Conflict if the id is taken, NotAllowed if the operator could not see the agent afterwards, and Unprocessable for
    an id that no agent may have.
    """
    require_nameable(new.agent_id)
    enrolment_tokens.require_own_labels(new.labels, by)
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


def register(conn: Connection, key: str, registration: Registration, source_ip: str | None) -> Registered:
    """Record what an agent says about itself; with an enrolment token instead of a key, create the agent and its key.

    Safe to repeat: the same enrolment token gives the agent the same key.  Raises the same AgentNotAuthenticated for an
    unknown agent, a wrong key and a token that is not valid for the id; AgentRejected for such an agent that shows its key;
    Unprocessable for an unknown agent with an id that no agent may have.
    """
    issued = None
    with conn.transaction():
        if agent_keys.owner_of(conn, key, registration.agent_id) is None:
            require_nameable(registration.agent_id)
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
                facts = coalesce(%s, a.facts),
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
                None if registration.facts is None else Jsonb(registration.facts, dumps=dumps),
                registration.agent_id,
            ),
        )
        if agent is None:
            raise AgentNotAuthenticated(_WRONG_KEY)
        if agent.approval == "rejected":
            raise AgentRejected("An operator has rejected this agent; it can connect once an operator approves it.")
    logger.info("Agent registered", extra={"agent_id": agent.agent_id, "approval": agent.approval})
    return Registered(agent=agent, key=issued)


def owner_of(conn: Connection, key: str | None, agent_id: str) -> KeyOwner | None:
    """Return the agent that may connect with a key, or with a reusable token in its place; None for every wrong pair.

    StreamSpace's docker-agent connects with what it was given, whatever the registration answered.
    """
    return agent_keys.owner_of(conn, key, agent_id) or fetch_one(
        conn,
        KeyOwner,
        f"""
        select k.agent_id, a.approval, k.key_id
        from enrolment_tokens t
        join agent_keys k on k.enrolled_with = t.token_id
        join agents a on a.agent_id = k.agent_id
        where t.token_hash = %s
          and t.reusable
          and t.expires_at > now()
          and convert_to(k.agent_id, 'utf8') = %s
          and k.revoked_at is null
          and a.deleted_at is null
          and {enrolment_tokens.STANDS}
        """,
        (key_hash(key or ""), agent_id.encode("utf-8", "surrogatepass")),
    )


def _enrol(conn: Connection, secret: str, registration: Registration, source_ip: str | None) -> str:
    """Return the key that an enrolment token gives this agent; create the agent if the token has a use left."""
    agent_id = registration.agent_id
    token = enrolment_tokens.lock(conn, secret, agent_id)
    if token is None:
        raise AgentNotAuthenticated(_WRONG_KEY)
    salt = _salt_of_earlier_use(conn, token, agent_id)
    if salt is not None:
        return enrolled_key(secret, salt, agent_id)
    agent = (
        registry.insert(
            conn,
            agent_id=agent_id,
            platform=registration.platform,
            region=registration.region,
            labels=token.labels,
            approval="approved" if token.approved else "pending",
        )
        if enrolment_tokens.use(conn, token.token_id)
        else None
    )
    if agent is None:
        # A token creates agents; it gives no access to an agent that came into being in another way.
        raise AgentNotAuthenticated(_WRONG_KEY)
    salt = secrets.token_bytes(32)
    key = enrolled_key(secret, salt, agent_id)
    agent_keys.add_enrolled(conn, agent_id, key, token.created_by, token_id=token.token_id, salt=salt)
    actor = Actor(name=f"agent {agent_id}", source_ip=source_ip)
    audit_log.record(conn, actor, "enrol", agent_id=agent_id, detail={"tokenId": str(token.token_id)})
    return key


def _salt_of_earlier_use(conn: Connection, token: EnrolmentToken, agent_id: str) -> bytes | None:
    """Return the salt of the key that this token gave this agent, if the agent may have the key again.

    It may while the token is reusable and has not expired; and before it has connected: for a while if the answer may have
    been lost, and for days if it waits for approval.  The key must still be valid and the agent must not be rejected.
    """
    row = conn.execute(
        """
        select k.enrolment_salt
        from agent_keys k
        join agents a using (agent_id)
        where k.enrolled_with = %(token_id)s
          and k.agent_id = %(agent_id)s
          and k.revoked_at is null
          and a.deleted_at is null
          and a.approval <> 'rejected'
          and (
              (%(reusable)s and now() < %(expires_at)s)
              or (
                  a.connected_at is null
                  and k.created_at > now() - case
                      when %(approved)s then %(lost_answer)s * interval '1 second'
                      else %(waiting)s * interval '1 day'
                  end))
        """,
        {
            "token_id": token.token_id,
            "agent_id": agent_id,
            "reusable": token.reusable,
            "expires_at": token.expires_at,
            "approved": token.approved,
            "lost_answer": LOST_ANSWER_SECONDS,
            "waiting": WAITING_DAYS,
        },
    ).fetchone()
    return row[0] if row else None
