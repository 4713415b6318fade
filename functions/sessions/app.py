"""StreamSpace's sessions: start, stop, hibernate and wake one, each with a command."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.api import cursors
from dispatcher.api.command_schemas import CommandDocument
from dispatcher.api.resolver import Api, Cursor, IdempotencyKey, Limit, accepted, answer_with
from dispatcher.api.session_schemas import SessionDocument, SessionPage, SessionRequest, StartedSessionDocument
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logger
from dispatcher.sessions import session_records, streamspace

api = Api()


@api.post("/api/v1/sessions", status_code=HTTPStatus.CREATED)
def start(
    request: Annotated[SessionRequest, Body()], idempotency_key: IdempotencyKey = None
) -> Response[StartedSessionDocument]:
    """Start a session at an agent; without an agent's id one is chosen."""
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        session, command = streamspace.start(conn, request.to_session(), by, idempotency_key)
        deliver_at_once(conn, gateway, command.agent_id, api.deadline)
    document = StartedSessionDocument.model_validate({**asdict(session), "command_id": command.command_id})
    return answer_with(HTTPStatus.CREATED, document, location=f"/api/v1/sessions/{session.name}")


@api.get("/api/v1/sessions")
def list_sessions(limit: Limit = 50, cursor: Cursor = None) -> SessionPage:
    """List sessions, ordered by name."""
    scope = api.operator_with(Role.READER).scope
    after = cursors.decode(cursor) if cursor else None
    with database.connect() as conn:
        page = session_records.list_page(conn, scope=scope, after=after, limit=limit)
    return SessionPage(
        sessions=[SessionDocument.model_validate(session) for session in page],
        next_cursor=cursors.next_cursor(page, limit, lambda session: session.name),
    )


@api.get("/api/v1/sessions/<name>")
def read(name: str) -> SessionDocument:
    """Read a session."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return SessionDocument.model_validate(session_records.find(conn, name, scope))


@api.delete("/api/v1/sessions/<name>", status_code=HTTPStatus.ACCEPTED)
def stop(name: str) -> Response[CommandDocument]:
    """Stop a session."""
    return _command(name, "stop_session")


@api.post("/api/v1/sessions/<name>/hibernate", status_code=HTTPStatus.ACCEPTED)
def hibernate(name: str) -> Response[CommandDocument]:
    """Hibernate a session."""
    return _command(name, "hibernate_session")


@api.post("/api/v1/sessions/<name>/wake", status_code=HTTPStatus.ACCEPTED)
def wake(name: str) -> Response[CommandDocument]:
    """Wake a hibernated session."""
    return _command(name, "wake_session")


def _command(name: str, action: str) -> Response[CommandDocument]:
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        command = streamspace.command(conn, name, action, by)
        deliver_at_once(conn, gateway, command.agent_id, api.deadline)
    return accepted(CommandDocument.model_validate(command), f"/api/v1/commands/{command.command_id}")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
