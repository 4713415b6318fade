"""StreamSpace's sessions, each action with a command, and the templates that they are started from."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.api import cursors
from dispatcher.api.command_schemas import CommandDocument
from dispatcher.api.resolver import Api, Cursor, IdempotencyKey, Limit, accepted, answer_page, answer_with, no_content
from dispatcher.api.session_schemas import SessionDocument, SessionPage, SessionRequest, StartedSessionDocument
from dispatcher.api.template_schemas import TemplateManifest, TemplatePage
from dispatcher.commands.command_records import Command
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.errors import Unprocessable
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logged
from dispatcher.sessions import session_records, streamspace, templates

api = Api()
_STOPPED: dict[int, OpenAPIResponse] = {
    202: {"description": "The command", "content": {"application/json": {"model": CommandDocument}}},
    200: {"description": "The session has ended already", "content": {"application/json": {"model": SessionDocument}}},
}
_STORED: dict[int, OpenAPIResponse] = {
    200: {"description": "Changed", "content": {"application/json": {"model": dict[str, Any]}}},
    201: {"description": "New", "content": {"application/json": {"model": dict[str, Any]}}},
}


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
def list_sessions(limit: Limit = 50, cursor: Cursor = None) -> Response[SessionPage]:
    """List sessions, ordered by name."""
    scope = api.operator_with(Role.READER).scope
    after = cursors.decode(cursor) if cursor else None
    with database.connect() as conn:
        page = session_records.list_page(conn, scope=scope, after=after, limit=limit)
    return answer_page(
        "sessions", page, SessionDocument.model_validate, limit=limit, position=lambda session: session.name
    )


@api.get("/api/v1/sessions/<name>")
def read(name: str) -> SessionDocument:
    """Read a session."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return SessionDocument.model_validate(session_records.find(conn, name, scope))


@api.delete("/api/v1/sessions/<name>", responses=_STOPPED)
def stop(name: str, idempotency_key: IdempotencyKey = None) -> Response[CommandDocument | SessionDocument]:
    """Stop a session.

    A session that is terminated is answered with 200 and the session; no command is submitted.
    """
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        stopped = streamspace.stop(conn, name, by, idempotency_key)
        if not isinstance(stopped, Command):
            return answer_with(HTTPStatus.OK, SessionDocument.model_validate(stopped))
        deliver_at_once(conn, gateway, stopped.agent_id, api.deadline)
    return accepted(CommandDocument.model_validate(stopped), f"/api/v1/commands/{stopped.command_id}")


@api.post("/api/v1/sessions/<name>/hibernate", status_code=HTTPStatus.ACCEPTED)
def hibernate(name: str, idempotency_key: IdempotencyKey = None) -> Response[CommandDocument]:
    """Hibernate a session."""
    return _command(name, "hibernate_session", idempotency_key)


@api.post("/api/v1/sessions/<name>/wake", status_code=HTTPStatus.ACCEPTED)
def wake(name: str, idempotency_key: IdempotencyKey = None) -> Response[CommandDocument]:
    """Wake a hibernated session."""
    return _command(name, "wake_session", idempotency_key)


def _command(name: str, action: str, idempotency_key: str | None) -> Response[CommandDocument]:
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        command = streamspace.command(conn, name, action, by, idempotency_key)
        deliver_at_once(conn, gateway, command.agent_id, api.deadline)
    return accepted(CommandDocument.model_validate(command), f"/api/v1/commands/{command.command_id}")


@api.get("/api/v1/templates")
def list_templates(limit: Limit = 50, cursor: Cursor = None) -> TemplatePage:
    """List the manifests of the templates, ordered by name."""
    api.operator_with(Role.READER)
    after = cursors.decode(cursor) if cursor else None
    with database.connect() as conn:
        page, more = templates.list_page(conn, after=after, limit=limit)
    return TemplatePage(
        templates=[template.manifest for template in page], next_cursor=cursors.encode(page[-1].name) if more else None
    )


@api.get("/api/v1/templates/<name>")
def read_template(name: str) -> dict[str, Any]:
    """Read a template's manifest."""
    api.operator_with(Role.READER)
    with database.connect() as conn:
        return templates.find(conn, name)


@api.put("/api/v1/templates/<name>", responses=_STORED)
def put_template(name: str, request: Annotated[TemplateManifest, Body()]) -> Response[dict[str, Any]]:
    """Store a template; sessions that are started later get the new manifest."""
    by = api.unlimited_admin()
    if request.metadata.name != name:
        raise Unprocessable(f"body/metadata/name: It is {request.metadata.name!r}, and the path names {name!r}.")
    manifest = request.to_manifest()
    with database.connect() as conn:
        created = templates.put(conn, name, manifest, by)
    return answer_with(HTTPStatus.CREATED if created else HTTPStatus.OK, manifest, location=f"/api/v1/templates/{name}")


@api.delete("/api/v1/templates/<name>", status_code=HTTPStatus.NO_CONTENT)
def delete_template(name: str) -> Response[None]:
    """Delete a template; sessions that were started from it go on."""
    by = api.unlimited_admin()
    with database.connect() as conn:
        templates.delete(conn, name, by)
    return no_content()


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
