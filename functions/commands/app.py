"""Intake: accept, read, list, cancel, redrive commands; after the commit, try to deliver at once."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.identity import Operator, Role
from dispatcher.api import cursors
from dispatcher.api.documents import (
    CommandDocument,
    CommandPage,
    HistoryDocument,
    HistoryEntryDocument,
    Name,
    SubmitRequest,
    SubmitToRequest,
    WhyDocument,
)
from dispatcher.api.resolver import Api, IdempotencyKey, accepted
from dispatcher.commands import explanation as why
from dispatcher.commands import submission as intake
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.commands.model import Command, Status
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import deadline_of, logger
from dispatcher.store import commands
from dispatcher.store.commands import NewCommand

api = Api()


@api.post("/api/v1/agents/<agent_id>/commands", status_code=HTTPStatus.ACCEPTED)
def submit(
    agent_id: Name, request: Annotated[SubmitRequest, Body()], idempotency_key: IdempotencyKey = None
) -> Response[CommandDocument]:
    """Accept a command for one agent."""
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        (command,) = _accept(conn, [request.to_command(agent_id, idempotency_key=idempotency_key)], by)
    return accepted(CommandDocument.model_validate(command), f"/api/v1/commands/{command.command_id}")


@api.post("/api/v1/commands", status_code=HTTPStatus.ACCEPTED)
def submit_many(
    requests: Annotated[list[SubmitToRequest], Body(min_length=1, max_length=1000)],
    idempotency_key: IdempotencyKey = None,
) -> Response[list[CommandDocument]]:
    """Accept a list of commands, all or none; an idempotency key covers the whole list."""
    by = api.operator_with(Role.SENDER)
    # The first has the key itself: it stands for no other request of one command either.
    keys = [idempotency_key and (idempotency_key + f"\x1f{index}" * (index > 0)) for index in range(len(requests))]
    with database.connect() as conn:
        submitted = _accept(
            conn,
            [
                request.to_command(request.agent_id, idempotency_key=key)
                for request, key in zip(requests, keys, strict=True)
            ],
            by,
        )
    return accepted([CommandDocument.model_validate(command) for command in submitted], "/api/v1/commands")


def _accept(conn: Connection, new: Sequence[NewCommand], by: Operator) -> list[Command]:
    submitted = [each.command for each in intake.submit(conn, new, by)]
    deliver_at_once(conn, ApiGateway.from_environment(), submitted, deadline_of(api.lambda_context))
    return submitted


@api.get("/api/v1/commands")
def list_commands(
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    session_id: Annotated[str | None, Query(alias="sessionId")] = None,
    status: Annotated[Status | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=cursors.PAGE_MOST)] = 50,
    cursor: Annotated[str | None, Query()] = None,
) -> CommandPage:
    """List commands, the newest first."""
    scope = api.operator_with(Role.READER).scope
    before = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        page = commands.list_page(
            conn, scope=scope, agent_id=agent_id, session_id=session_id, status=status, before=before, limit=limit
        )
    return CommandPage(
        commands=[CommandDocument.model_validate(command) for command in page],
        next_cursor=cursors.encode(page[-1].seq) if len(page) == limit else None,
    )


@api.get("/api/v1/commands/<command_id>")
def read(command_id: str) -> CommandDocument:
    """Read a command."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return CommandDocument.model_validate(intake.find(conn, command_id, scope))


@api.get("/api/v1/commands/<command_id>/history")
def read_history(command_id: str) -> HistoryDocument:
    """Read each transition of a command, with its cause."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        intake.find(conn, command_id, scope)
        entries = commands.history(conn, command_id)
    return HistoryDocument(
        command_id=command_id, history=[HistoryEntryDocument.model_validate(entry) for entry in entries]
    )


@api.get("/api/v1/commands/<command_id>/why")
def read_why(command_id: str) -> WhyDocument:
    """Compute the one reason why a command is where it is."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        intake.find(conn, command_id, scope)
        return WhyDocument.model_validate(why.explain(conn, command_id))


@api.post("/api/v1/commands/<command_id>/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel(command_id: str) -> Response[CommandDocument]:
    """Cancel a pending command at once; ask for the stop of one that is under way."""
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        command = intake.cancel(conn, ApiGateway.from_environment(), command_id, by)
    return accepted(CommandDocument.model_validate(command), f"/api/v1/commands/{command.command_id}")


@api.post("/api/v1/commands/<command_id>/redrive", status_code=HTTPStatus.ACCEPTED)
def redrive(command_id: str) -> Response[CommandDocument]:
    """Submit a command that ended without success once more, as a new command."""
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        command = intake.redrive(conn, command_id, by).command
        deliver_at_once(conn, ApiGateway.from_environment(), [command], deadline_of(api.lambda_context))
    return accepted(CommandDocument.model_validate(command), f"/api/v1/commands/{command.command_id}")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
