"""The StreamSpace face: a session is held by an agent, and whatever is done to it is a command."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from dispatcher.access.identity import Operator
from dispatcher.commands import submission as intake
from dispatcher.commands.model import Command, Session
from dispatcher.commands.submission import Accepted
from dispatcher.errors import Conflict, IdempotencyKeyReused, UnknownAgent, UnknownSession
from dispatcher.platform.database import Connection
from dispatcher.store import agents, sessions
from dispatcher.store.commands import NewCommand
from dispatcher.store.scopes import Scope

_STATE_WHILE = {"stop_session": "stopping", "hibernate_session": "hibernating", "wake_session": "waking"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to start; without an agent, one is chosen."""

    user: str
    template: str
    resources: dict[str, str]
    persistent_home: bool
    agent_id: str | None


def start(
    conn: Connection, new: NewSession, by: Operator, idempotency_key: str | None = None
) -> tuple[Session, Command]:
    """Record a session and submit the command that starts it; with a key that came before, return those of that request.

    Raises UnknownAgent, Conflict where there is no agent, and IdempotencyKeyReused.
    """
    earlier = sessions.get(conn, _name(new, by, idempotency_key), by.scope) if idempotency_key else None
    agent_id = earlier.agent_id if earlier else new.agent_id or agents.choose_for_session(conn, by.scope)
    if agent_id is None:
        raise Conflict("There is no agent to hold a session; POST /api/v1/agents provides one.")
    if earlier is None and agents.get(conn, agent_id, by.scope) is None:
        raise UnknownAgent(f"There is no agent {agent_id!r}.", agentId=agent_id)
    with conn.transaction():
        session, is_new = _record(conn, new, agent_id, by, idempotency_key)
        started = _submit(conn, session, "start_session", by, _start_payload(session), idempotency_key=idempotency_key)
        if not is_new and not started.replayed:
            # Its command is not kept any more: another one would start an old session anew.
            raise IdempotencyKeyReused("This Idempotency-Key came with a request long ago.", session=session.name)
    return session, started.command


def _record(
    conn: Connection, new: NewSession, agent_id: str, by: Operator, idempotency_key: str | None
) -> tuple[Session, bool]:
    while True:
        name = _name(new, by, idempotency_key)
        session = sessions.insert(
            conn,
            name=name,
            agent_id=agent_id,
            owner=new.user,
            template=new.template,
            resources=new.resources,
            persistent_home=new.persistent_home,
        )
        if session is not None:
            return session, True
        if idempotency_key is not None:
            return _same(find(conn, name, by.scope), new), False


def _same(earlier: Session, new: NewSession) -> Session:
    asked = (new.user, new.template, new.resources, new.persistent_home, new.agent_id or earlier.agent_id)
    if asked != (earlier.owner, earlier.template, earlier.resources, earlier.persistent_home, earlier.agent_id):
        raise IdempotencyKeyReused("This Idempotency-Key came with another request before.", session=earlier.name)
    return earlier


def command(conn: Connection, name: str, action: str, by: Operator) -> Command:
    """Submit a command for a session, and note what it is about to become.  Raises UnknownSession."""
    session = find(conn, name, by.scope)
    with conn.transaction():
        submitted = _submit(conn, session, action, by, {"sessionId": session.name, "user": session.owner}).command
        sessions.note(conn, session.agent_id, session.name, _STATE_WHILE[action])
    return submitted


def find(conn: Connection, name: str, scope: Scope) -> Session:
    """Read a session; raises UnknownSession."""
    session = sessions.get(conn, name, scope)
    if session is None:
        raise UnknownSession(f"There is no session {name!r}.", session=name)
    return session


def _submit(
    conn: Connection,
    session: Session,
    action: str,
    by: Operator,
    payload: dict[str, Any],
    *,
    idempotency_key: str | None = None,
) -> Accepted:
    new = NewCommand(
        agent_id=session.agent_id,
        action=action,
        payload=payload,
        session_id=session.name,
        idempotency_key=idempotency_key,
    )
    return intake.submit(conn, [new], by)[0]


def _start_payload(session: Session) -> dict[str, Any]:
    # Memory and cpu twice: the k8s-agent reads them flat, the docker-agent in `resources`.
    return {
        "sessionId": session.name,
        "user": session.owner,
        "template": session.template,
        "persistentHome": session.persistent_home,
        **session.resources,
        "resources": session.resources,
    }


def _name(new: NewSession, by: Operator, idempotency_key: str | None) -> str:
    # Agents make a pod or a container of this name: lower-case letters, digits and hyphens.
    words = re.sub(r"[^a-z0-9]+", "-", f"{new.user}-{new.template}".lower()).strip("-")
    if idempotency_key is None:
        return f"{words}-{secrets.token_hex(4)}"
    whose = json.dumps([by.username, idempotency_key])
    return f"{words}-{hashlib.sha256(whose.encode()).hexdigest()[:12]}"
