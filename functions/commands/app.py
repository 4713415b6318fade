"""Commands: submit, read, list, cancel and redrive them; after the commit, try to deliver at once."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.api import cursors
from dispatcher.api.command_schemas import (
    AcceptedList,
    CommandDocument,
    CommandItemDocument,
    CommandPage,
    HistoryEntryDocument,
    HistoryPage,
    RedriveRequest,
    SubmitListRequest,
    SubmitRequest,
    WhyDocument,
)
from dispatcher.api.cursors import PAGE_BYTES
from dispatcher.api.resolver import Api, Cursor, IdempotencyKey, Limit, accepted, answer_page
from dispatcher.commands import cancellation, command_records, explanation, submission
from dispatcher.commands.command_records import LARGE_COLUMNS, Command, Filter
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.commands.flush import hand_over
from dispatcher.commands.lifecycle import Status
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logger

COMMANDS = "/api/v1/commands"
api = Api()


@api.post("/api/v1/agents/<agent_id>/commands", status_code=HTTPStatus.ACCEPTED)
def submit(
    agent_id: str, request: Annotated[SubmitRequest, Body()], idempotency_key: IdempotencyKey = None
) -> Response[CommandDocument]:
    """Submit a command for one agent."""
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        (submitted,) = submission.submit(conn, [request.to_command(agent_id, idempotency_key)], by, claim=True)
        if submitted.claim is not None:
            deliver_at_once(conn, gateway, agent_id, api.deadline, claim=submitted.claim)
    return _accepted(submitted.command)


@api.post(COMMANDS, status_code=HTTPStatus.ACCEPTED)
def submit_many(
    requests: Annotated[SubmitListRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response[AcceptedList]:
    """Submit a list of commands, all or none; an idempotency key covers the whole list.

    A list that does not have its form is refused with the first command that is wrong.
    """
    by = api.operator_with(Role.SENDER)
    new = [request.to_command(request.agent_id) for request in requests.root]
    with database.connect() as conn:
        submitted = submission.submit_list(conn, new, idempotency_key, by)
        hand_over(conn, submitted)
    return accepted(AcceptedList.model_validate({"commands": submitted}), COMMANDS)


@api.get(COMMANDS)
def list_commands(
    *,
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    session_id: Annotated[str | None, Query(alias="sessionId")] = None,
    status: Annotated[list[Status] | None, Query(description="One or more, as a,b or repeated.")] = None,
    include: Annotated[
        list[Literal["payload", "result", "progress"]] | None, Query(description="Large fields that you want too.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[CommandPage]:
    """List commands, newest first; a page may end before its limit, because of its size."""
    scope = api.operator_with(Role.READER).scope
    before = cursors.decode_number(cursor) if cursor else None
    wanted = Filter(agent_id=agent_id, session_id=session_id, statuses=frozenset(status) if status else None)
    with database.connect() as conn:
        page = command_records.list_page(
            conn,
            scope=scope,
            wanted=wanted,
            before=before,
            limit=limit,
            most_bytes=PAGE_BYTES,
            include=include or (),
        )
    return answer_page(
        "commands",
        page.commands,
        CommandItemDocument.model_validate,
        limit=limit,
        position=lambda command: command.seq,
        more=page.more,
        exclude={*LARGE_COLUMNS} - {*(include or ())},
    )


@api.get("/api/v1/commands/<command_id>")
def read(command_id: str) -> CommandDocument:
    """Read a command."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return CommandDocument.model_validate(command_records.find(conn, command_id, scope))


@api.get("/api/v1/commands/<command_id>/history")
def read_history(command_id: str, limit: Limit = 50, cursor: Cursor = None) -> Response[HistoryPage]:
    """Read each transition of a command, oldest first, with its cause."""
    scope = api.operator_with(Role.READER).scope
    after = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        entries = command_records.history(conn, command_id, scope, after=after, limit=limit)
    return answer_page(
        "history", entries, HistoryEntryDocument.model_validate, limit=limit, position=lambda entry: entry.history_id
    )


@api.get("/api/v1/commands/<command_id>/why")
def read_why(command_id: str) -> WhyDocument:
    """Compute the one reason why a command is where it is."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return WhyDocument.model_validate(explanation.explain(conn, command_id, scope))


@api.post("/api/v1/commands/<command_id>/cancel", status_code=HTTPStatus.ACCEPTED)
def cancel(command_id: str) -> Response[CommandDocument]:
    """Cancel a pending command at once; ask the agent to stop a command that is under way."""
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        return _accepted(
            cancellation.cancel(conn, ApiGateway.from_environment(hurried=True), command_id, by, api.deadline)
        )


@api.post("/api/v1/commands/<command_id>/redrive", status_code=HTTPStatus.ACCEPTED)
def redrive(
    command_id: str,
    request: Annotated[RedriveRequest | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[CommandDocument]:
    """Submit a command that ended without success again, as a new command.

    It gets the same time for its delivery as the old one, or `ttlSeconds`.
    """
    by = api.operator_with(Role.SENDER)
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        command = submission.redrive(
            conn,
            command_id,
            by,
            idempotency_key=idempotency_key,
            ttl_seconds=request.ttl_seconds if request else None,
        ).command
        deliver_at_once(conn, gateway, command.agent_id, api.deadline)
    return _accepted(command)


def _accepted(command: Command) -> Response[CommandDocument]:
    return accepted(CommandDocument.model_validate(command), f"{COMMANDS}/{command.command_id}")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
