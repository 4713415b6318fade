"""The StreamSpace face: a session is held by an agent, and whatever is done to it is a command."""

import re
import secrets
from dataclasses import dataclass
from typing import Any

from dispatcher import intake
from dispatcher.database import Connection
from dispatcher.errors import Conflict, UnknownAgent, UnknownSession
from dispatcher.identity import Operator
from dispatcher.model import Command, Session
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


def start(conn: Connection, new: NewSession, by: Operator) -> tuple[Session, Command]:
    """Record a session and submit the command that starts it.  Raises UnknownAgent, and Conflict where there is no agent."""
    agent_id = new.agent_id or agents.choose_for_session(conn, by.scope)
    if agent_id is None:
        raise Conflict("There is no agent to hold a session; POST /api/v1/agents provides one.")
    if agents.get(conn, agent_id, by.scope) is None:
        raise UnknownAgent(f"There is no agent {agent_id!r}.", agentId=agent_id)
    with conn.transaction():
        session = None
        while session is None:
            session = sessions.insert(
                conn,
                name=_name(new.user, new.template),
                agent_id=agent_id,
                owner=new.user,
                template=new.template,
                resources=new.resources,
                persistent_home=new.persistent_home,
            )
        command = _submit(conn, session, "start_session", by, _start_payload(session))
    return session, command


def command(conn: Connection, name: str, action: str, by: Operator) -> Command:
    """Submit a command for a session, and note what it is about to become.  Raises UnknownSession."""
    session = find(conn, name, by.scope)
    with conn.transaction():
        submitted = _submit(conn, session, action, by, {"sessionId": session.name, "user": session.owner})
        sessions.note(conn, session.agent_id, session.name, _STATE_WHILE[action])
    return submitted


def find(conn: Connection, name: str, scope: Scope) -> Session:
    """Read a session; raises UnknownSession."""
    session = sessions.get(conn, name, scope)
    if session is None:
        raise UnknownSession(f"There is no session {name!r}.", session=name)
    return session


def _submit(conn: Connection, session: Session, action: str, by: Operator, payload: dict[str, Any]) -> Command:
    new = NewCommand(agent_id=session.agent_id, action=action, payload=payload, session_id=session.name)
    return intake.submit(conn, [new], by)[0].command


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


def _name(user: str, template: str) -> str:
    # Agents make a pod or a container of this name: lower-case letters, digits and hyphens.
    words = re.sub(r"[^a-z0-9]+", "-", f"{user}-{template}".lower()).strip("-")
    return f"{words}-{secrets.token_hex(4)}"
