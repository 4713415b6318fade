"""StreamSpace's sessions API: an agent holds a session, and everything that is done to it is a command."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from dispatcher.access.roles import Operator
from dispatcher.agents import registry
from dispatcher.commands import submission
from dispatcher.commands.command_records import Command
from dispatcher.commands.submission import Accepted, NewCommand
from dispatcher.errors import Conflict, IdempotencyKeyReused
from dispatcher.platform.database import Connection
from dispatcher.sessions import session_records
from dispatcher.sessions.session_records import Session

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
    """Record a session and submit the command that starts it; a repeated key gives back those of the first request.

    Raises UnknownAgent, Conflict if there is no agent, and IdempotencyKeyReused.
    """
    earlier = None
    if idempotency_key:
        earlier = session_records.get(conn, _name(new, by, idempotency_key), by.scope)
    agent_id = earlier.agent_id if earlier else new.agent_id or session_records.choose_agent(conn, by.scope)
    if agent_id is None:
        raise Conflict("There is no agent to hold a session; POST /api/v1/agents creates one.")
    if earlier is None:
        registry.find(conn, agent_id, by.scope)
    with conn.transaction():
        session, is_new = _record(conn, new, agent_id, by, idempotency_key)
        started = _submit(conn, session, "start_session", by, _start_payload(session), idempotency_key=idempotency_key)
        if not is_new and not started.replayed:
            # The command of the first request is pruned: a second one would start an old session again.
            raise IdempotencyKeyReused("This Idempotency-Key was used long ago.", session=session.name)
    return session, started.command


def command(conn: Connection, name: str, action: str, by: Operator) -> Command:
    """Submit a command for a session, and store the state that follows while it is under way.  Raises UnknownSession."""
    session = session_records.find(conn, name, by.scope)
    with conn.transaction():
        submitted = _submit(conn, session, action, by, {"sessionId": session.name, "user": session.owner}).command
        session_records.set_state(conn, session.agent_id, session.name, _STATE_WHILE[action])
    return submitted


def _record(
    conn: Connection, new: NewSession, agent_id: str, by: Operator, idempotency_key: str | None
) -> tuple[Session, bool]:
    """Insert the session; return it, and whether it is new."""
    while True:
        name = _name(new, by, idempotency_key)
        session = session_records.insert(
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
            return _same(session_records.find(conn, name, by.scope), new), False


def _same(earlier: Session, new: NewSession) -> Session:
    asked = (new.user, new.template, new.resources, new.persistent_home, new.agent_id or earlier.agent_id)
    if asked != (earlier.owner, earlier.template, earlier.resources, earlier.persistent_home, earlier.agent_id):
        raise IdempotencyKeyReused("This Idempotency-Key was used with a different request.", session=earlier.name)
    return earlier


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
    return submission.submit(conn, [new], by)[0]


def _start_payload(session: Session) -> dict[str, Any]:
    # Memory and cpu stand twice: the k8s-agent reads them flat, the docker-agent in `resources`.
    return {
        "sessionId": session.name,
        "user": session.owner,
        "template": session.template,
        "persistentHome": session.persistent_home,
        **session.resources,
        "resources": session.resources,
    }


def _name(new: NewSession, by: Operator, idempotency_key: str | None) -> str:
    # Agents name a pod or a container after it: lower-case letters, digits and hyphens.
    words = re.sub(r"[^a-z0-9]+", "-", f"{new.user}-{new.template}".lower()).strip("-")
    if idempotency_key is None:
        return f"{words}-{secrets.token_hex(4)}"
    whose = json.dumps([by.username, idempotency_key])
    return f"{words}-{hashlib.sha256(whose.encode()).hexdigest()[:12]}"
