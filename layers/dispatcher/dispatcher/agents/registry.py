"""The fleet: agents are provided or enrol, are approved, given keys, and register themselves."""

from dataclasses import dataclass
from typing import Any

from dispatcher.access import identity
from dispatcher.access.identity import Operator
from dispatcher.commands.model import Agent
from dispatcher.errors import Conflict, NotAllowed, NotAuthenticated, NotFound, UnknownAgent
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import Gateway
from dispatcher.platform.observability import logger
from dispatcher.store import agents, connections, enrolment, journal, keys
from dispatcher.store.enrolment import EnrolmentToken, NewEnrolmentToken
from dispatcher.store.journal import Actor
from dispatcher.store.keys import AgentKey
from dispatcher.store.scopes import Scope

KEYS_AT_ONCE = 2
"""Valid keys an agent may have: the one in use and the one that replaces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """An agent to provide."""

    agent_id: str
    platform: str
    region: str | None
    labels: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What an agent says of itself at its registration."""

    agent_id: str
    platform: str
    region: str | None
    capacity: Any
    metadata: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """An agent that has registered; with a key, where it enrolled just now."""

    agent: Agent
    key: str | None = None


def provide(conn: Connection, new: NewAgent, by: Operator) -> tuple[Agent, str]:
    """Provide an agent with its first key.

    Raises Conflict where the id is taken, and NotAllowed where the operator could not see it afterwards.
    """
    _must_carry(new.labels, by)
    with conn.transaction():
        agent = agents.insert(
            conn,
            agent_id=new.agent_id,
            platform=new.platform,
            region=new.region,
            labels=new.labels,
            approval="approved",
        )
        if agent is None:
            raise Conflict(
                f"Agent {new.agent_id!r} is there already; POST /api/v1/agents/{new.agent_id}/keys gives it a key."
            )
        secret, key_hash = identity.new_key()
        keys.insert(conn, new.agent_id, key_hash, by.username)
        journal.record(conn, by.actor, "provide agent", agent_id=new.agent_id)
    return agent, secret


def find(conn: Connection, agent_id: str, scope: Scope) -> Agent:
    """Read an agent; raises UnknownAgent."""
    agent = agents.get(conn, agent_id, scope)
    if agent is None:
        raise UnknownAgent(f"There is no agent {agent_id!r}.", agentId=agent_id)
    return agent


def issue_key(conn: Connection, agent_id: str, by: Operator) -> tuple[AgentKey, str]:
    """Give an agent one more key; return it with its secret.

    Raises UnknownAgent, and Conflict where it has KEYS_AT_ONCE already.
    """
    with conn.transaction():
        find(conn, agent_id, by.scope)
        agents.hold(conn, agent_id)
        if len(keys.valid(conn, agent_id)) >= KEYS_AT_ONCE:
            raise Conflict(f"Agent {agent_id!r} has {KEYS_AT_ONCE} keys already; revoke one first.")
        secret, key_hash = identity.new_key()
        key = keys.insert(conn, agent_id, key_hash, by.username)
        journal.record(conn, by.actor, "issue key", agent_id=agent_id, detail={"keyId": str(key.key_id)})
    return key, secret


def revoke_key(conn: Connection, gateway: Gateway, agent_id: str, key_id: str, by: Operator) -> None:
    """Revoke a key and close the sockets that were opened with it: they would last for 2 h.  Raises NotFound."""
    with conn.transaction():
        find(conn, agent_id, by.scope)
        if not keys.revoke(conn, agent_id, key_id):
            raise NotFound(f"Agent {agent_id!r} has no such key.")
        connections.forget_opened_with(conn, agent_id, key_id)
        journal.record(conn, by.actor, "revoke key", agent_id=agent_id, detail={"keyId": key_id})
    _close_all(gateway, agents.open_connections(conn, agent_id, key_id))


def decide(conn: Connection, gateway: Gateway, agent_id: str, approval: str, by: Operator) -> Agent:
    """Approve or reject an agent; one that is rejected loses its sockets.  Raises UnknownAgent."""
    with conn.transaction():
        find(conn, agent_id, by.scope)
        agents.decide(conn, agent_id, approval)
        journal.record(conn, by.actor, f"agent {approval}", agent_id=agent_id)
    if approval != "approved":
        _close_all(gateway, agents.open_connections(conn, agent_id))
    return find(conn, agent_id, by.scope)


def delete(conn: Connection, gateway: Gateway, agent_id: str, by: Operator) -> None:
    """Delete an agent: its keys are revoked, its sockets closed; its commands and their history stay.  Raises UnknownAgent."""
    with conn.transaction():
        find(conn, agent_id, by.scope)
        open_connections = agents.delete(conn, agent_id)
        journal.record(conn, by.actor, "delete agent", agent_id=agent_id)
    _close_all(gateway, open_connections)


def invite(conn: Connection, new: NewEnrolmentToken, by: Operator) -> tuple[EnrolmentToken, str]:
    """Make an enrolment token; return it with its secret.

    Raises NotAllowed where the operator could not see the agents that come with it.
    """
    _must_carry(new.labels, by)
    secret, token_hash = identity.new_key()
    with conn.transaction():
        token = enrolment.insert(conn, new, token_hash, by.username)
        subject = new.agent_id or f"{new.prefix}…"
        detail = {"tokenId": str(token.token_id), "for": subject, "uses": new.uses, "approved": new.approved}
        journal.record(conn, by.actor, "make enrolment token", agent_id=new.agent_id, detail=detail)
    return token, secret


def register(conn: Connection, key: str | None, introduction: Introduction, source_ip: str | None) -> Registered:
    """Record what an agent says of itself; with an enrolment token in the place of its key, it gets a key of its own.

    Raises NotAuthenticated alike for an unknown agent, a wrong key and a token that is not good for it.
    """
    issued = None
    if identity.agent_of(conn, key, introduction.agent_id) is None:
        issued = _enrol(conn, key, introduction, source_ip)
    agent = agents.register(
        conn,
        introduction.agent_id,
        platform=introduction.platform,
        region=introduction.region,
        capacity=introduction.capacity,
        metadata=introduction.metadata,
    )
    if agent is None:
        raise NotAuthenticated(_NOT_TOGETHER)
    logger.info("Agent registered", extra={"agent_id": agent.agent_id, "approval": agent.approval})
    return Registered(agent=agent, key=issued)


def _enrol(conn: Connection, token: str | None, introduction: Introduction, source_ip: str | None) -> str:
    with conn.transaction():
        used = enrolment.use(conn, identity.key_hash(token or ""), introduction.agent_id)
        if used is None:
            raise NotAuthenticated(_NOT_TOGETHER)
        agent = agents.insert(
            conn,
            agent_id=introduction.agent_id,
            platform=introduction.platform,
            region=introduction.region,
            labels=used.labels,
            approval="approved" if used.approved else "pending",
        )
        if agent is None:
            # A token makes agents; it opens none that there is.
            raise NotAuthenticated(_NOT_TOGETHER)
        secret, key_hash = identity.new_key()
        keys.insert(conn, introduction.agent_id, key_hash, used.created_by)
        actor = Actor(name=f"agent {introduction.agent_id}", source_ip=source_ip)
        detail = {"tokenId": str(used.token_id)}
        journal.record(conn, actor, "enrol", agent_id=introduction.agent_id, detail=detail)
    return secret


_NOT_TOGETHER = "The agent's id and key do not belong together."


def _must_carry(labels: dict[str, str], by: Operator) -> None:
    missing = {name: value for name, value in (by.scope or {}).items() if labels.get(name) != value}
    if missing:
        raise NotAllowed("Your agents carry certain labels; these lack some.", missingLabels=missing)


def _close_all(gateway: Gateway, connection_ids: list[str]) -> None:
    for connection_id in connection_ids:
        gateway.close(connection_id)
