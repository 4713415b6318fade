"""StreamSpace's sessions API: an agent holds a session, and everything that is done to it is a command."""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from dispatcher.access.roles import Operator
from dispatcher.agents import registry
from dispatcher.commands import submission
from dispatcher.commands.command_records import Command
from dispatcher.commands.submission import Accepted, NewCommand
from dispatcher.errors import Conflict, IdempotencyKeyReused, NoTemplate
from dispatcher.platform.database import Connection
from dispatcher.protocol.platform_rules import LABEL_MOST, STREAMSPACE_PLATFORMS
from dispatcher.sessions import session_records, templates
from dispatcher.sessions.session_records import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """A session to start; without an agent, one is chosen; without a manifest, the template's one is used."""

    user: str
    template: str
    resources: dict[str, str]
    persistent_home: bool
    agent_id: str | None
    template_manifest: dict[str, Any] | None = None


def start(
    conn: Connection, new: NewSession, by: Operator, idempotency_key: str | None = None
) -> tuple[Session, Command]:
    """Record a session and submit the command that starts it; a repeated key gives back those of the first request.

    Raises UnknownAgent, Conflict if there is no agent, NoTemplate, TemplateTooLarge, IdempotencyKeyReused, and what
    `submission.submit` raises.
    """
    earlier = None
    if idempotency_key:
        earlier = session_records.get(conn, _name(new, by, idempotency_key), by.scope)
    agent_id = earlier.agent_id if earlier else new.agent_id or session_records.choose_agent(conn, by.scope)
    if agent_id is None:
        raise Conflict("There is no agent to hold a session; POST /api/v1/agents creates one.")
    if earlier is None:
        platform = registry.find(conn, agent_id, by.scope).platform
        new = replace(new, template_manifest=_manifest(conn, new, platform))
    with conn.transaction():
        session, is_new = _record(conn, new, agent_id, by, idempotency_key)
        started = _submit(conn, session, "start_session", by, _start_payload(session), idempotency_key=idempotency_key)
        if not is_new and not started.replayed:
            # The command of the first request is pruned: a second one would start an old session again.
            raise IdempotencyKeyReused("This Idempotency-Key was used long ago.", session=session.name)
    return session, started.command


def stop(conn: Connection, name: str, by: Operator, idempotency_key: str | None = None) -> Command | Session:
    """Submit the command that stops a session; a session that has ended is given back as it is.

    A repeated key gives back the command of the first request.  Raises UnknownSession and IdempotencyKeyReused.
    """
    session = session_records.find(conn, name, by.scope)
    if earlier := _earlier(conn, session, "stop_session", by, idempotency_key):
        return earlier
    if session.state != "terminated":
        session = session_records.end_without_agent(conn, name) or session
    return session if session.state == "terminated" else _act(conn, session, "stop_session", by, idempotency_key)


def command(conn: Connection, name: str, action: str, by: Operator, idempotency_key: str | None = None) -> Command:
    """Submit a command for a session; a repeated key gives back the command of the first request.

    Raises UnknownSession, IdempotencyKeyReused, and Conflict for a session that has ended.
    """
    session = session_records.find(conn, name, by.scope)
    if earlier := _earlier(conn, session, action, by, idempotency_key):
        return earlier
    if session.state == "terminated":
        raise Conflict("The session is terminated; POST /api/v1/sessions starts a new one.", session=name)
    return _act(conn, session, action, by, idempotency_key)


def _earlier(
    conn: Connection, session: Session, action: str, by: Operator, idempotency_key: str | None
) -> Command | None:
    """Return the command of an earlier request with this key, if there was one."""
    found = submission.find_by_key(conn, idempotency_key, by) if idempotency_key else None
    if found is not None and (found.session_id, found.action) != (session.name, action):
        raise IdempotencyKeyReused(
            "This Idempotency-Key was used with a different request.", commandId=found.command_id
        )
    return found


def _act(conn: Connection, session: Session, action: str, by: Operator, idempotency_key: str | None) -> Command:
    payload = {"sessionId": session.name, "user": session.owner}
    with conn.transaction():
        return _submit(conn, session, action, by, payload, idempotency_key=idempotency_key).command


def _manifest(conn: Connection, new: NewSession, platform: str) -> dict[str, Any] | None:
    """Return the manifest that the agent gets; raises NoTemplate if it needs one, and there is none."""
    if new.template_manifest is not None:
        templates.check_size(new.template_manifest)
        return new.template_manifest
    manifest = templates.get(conn, new.template)
    if manifest is None and platform in STREAMSPACE_PLATFORMS:
        raise NoTemplate(
            f"There is no template {new.template!r}, and agents of the platform {platform!r} need its manifest. "
            f"PUT /api/v1/templates/{quote(new.template)} stores it; or send it in `templateManifest`.",
            template=new.template,
        )
    return manifest


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
            template_manifest=new.template_manifest,
        )
        if session is not None:
            return session, True
        if idempotency_key is not None:
            return _same(session_records.find(conn, name, by.scope), new), False


def _same(earlier: Session, new: NewSession) -> Session:
    asked = (
        new.user,
        new.template,
        new.resources,
        new.persistent_home,
        new.agent_id or earlier.agent_id,
        new.template_manifest or earlier.template_manifest,
    )
    if asked != (
        earlier.owner,
        earlier.template,
        earlier.resources,
        earlier.persistent_home,
        earlier.agent_id,
        earlier.template_manifest,
    ):
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
    return submission.submit(conn, new, by)


def _start_payload(session: Session) -> dict[str, Any]:
    # Memory and cpu stand twice: the k8s-agent reads them flat, the docker-agent in `resources`.
    payload = {
        "sessionId": session.name,
        "user": session.owner,
        "template": session.template,
        "persistentHome": session.persistent_home,
        **session.resources,
        "resources": session.resources,
    }
    # The k8s-agent can read the template in its cluster instead, but it reads every port there as 0.
    return payload if session.template_manifest is None else {**payload, "templateManifest": session.template_manifest}


def _name(new: NewSession, by: Operator, idempotency_key: str | None) -> str:
    # Agents name pods, services and containers after it: at most 63 lower-case letters, digits and hyphens.  The name of a
    # service in Kubernetes begins with a letter.
    words = re.sub(r"[^a-z0-9]+", "-", f"{new.user}-{new.template}".lower()).strip("-")
    if not words[0].isalpha():
        words = f"s-{words}"
    if idempotency_key is None:
        suffix = secrets.token_hex(4)
    else:
        suffix = hashlib.sha256(json.dumps([by.username, idempotency_key]).encode()).hexdigest()[:12]
    return f"{words[: LABEL_MOST - len(suffix) - 1].rstrip('-')}-{suffix}"
