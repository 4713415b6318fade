"""Commands: submit, read, list, cancel and redrive them; after the commit, try to deliver at once."""

import gc
from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.event_handler.openapi.types import OpenAPIResponse
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic_core import to_json

from dispatcher.access.roles import Role
from dispatcher.api import cursors
from dispatcher.api.command_schemas import (
    AcceptedList,
    BulkDocument,
    BulkRequest,
    CommandDocument,
    CommandItemDocument,
    CommandPage,
    HistoryEntryDocument,
    HistoryPage,
    OverviewDocument,
    RedriveRequest,
    SubmitListRequest,
    SubmitRequest,
    ValuesDocument,
    WhyDocument,
    filter_of,
)
from dispatcher.api.cursors import PAGE_BYTES
from dispatcher.api.resolver import (
    Api,
    Cursor,
    IdempotencyKey,
    Limit,
    Selecting,
    accepted,
    answer_page,
    answer_with,
)
from dispatcher.api.schema_base import Moment
from dispatcher.commands import bulk, cancellation, command_records, explanation, known_values, overview, submission
from dispatcher.commands.command_lists import Position
from dispatcher.commands.command_records import LARGE_COLUMNS, Command
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.commands.flush import hand_over
from dispatcher.commands.lifecycle import Status
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logged

# A list of 1,000 commands makes some 8,000 objects.  With Python's own threshold of 700 a fifth of its processor time goes into
# the garbage collector, which looks at them again and again.
gc.set_threshold(20_000)

COMMANDS = "/api/v1/commands"
BULK_RESPONSES: dict[int, OpenAPIResponse] = {
    HTTPStatus.OK: {
        "description": "Nothing was done: a dry run",
        "content": {"application/json": {"model": BulkDocument}},
    },
    HTTPStatus.ACCEPTED: {"description": "Done", "content": {"application/json": {"model": BulkDocument}}},
}
api = Api(late=frozenset({"POST /api/v1/agents/{agent_id}/commands"}))


@api.post("/api/v1/agents/<agent_id>/commands", status_code=HTTPStatus.ACCEPTED)
def submit(
    agent_id: str, request: Annotated[SubmitRequest, Body()], idempotency_key: IdempotencyKey = None
) -> Response[CommandDocument]:
    """Submit a command for one agent."""
    by = api.sender()
    gateway = ApiGateway.from_environment(hurried=True)  # before the commit: nothing fails after it
    with database.connect() as conn:
        submitted = submission.submit(conn, request.to_command(agent_id, idempotency_key), by, claim=True)
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
        hand_over(conn, [each.agent_id for each in submitted])
    # Not through the model, and by pydantic's encoder, which takes half the time of ours: a list has a thousand entries.
    entries = [{"commandId": each.command_id, "agentId": each.agent_id, "status": each.status} for each in submitted]
    response: Response[Any] = accepted(to_json({"commands": entries}).decode(), COMMANDS)
    return response


@api.get(COMMANDS)
def list_commands(
    *,
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    session_id: Annotated[str | None, Query(alias="sessionId")] = None,
    status: Annotated[list[Status] | None, Query(description="One or more, as a,b or repeated.")] = None,
    action: Annotated[str | None, Query()] = None,
    submitted_by: Annotated[str | None, Query(alias="submittedBy")] = None,
    since: Annotated[Moment | None, Query(description="Accepted at this moment or later.")] = None,
    until: Annotated[Moment | None, Query(description="Accepted before this moment.")] = None,
    selector: Selecting = None,
    include: Annotated[
        list[Literal["payload", "result", "progress"]] | None, Query(description="Large fields that you want too.")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[CommandPage]:
    """List commands, newest first.

    A page may end before its limit, because of its size or because no index fits the filter: go on while there is a
    nextCursor.
    """
    scope = api.operator_with(Role.READER).scope
    wanted = filter_of(
        agent_id=agent_id,
        session_id=session_id,
        statuses=status,
        action=action,
        submitted_by=submitted_by,
        since=since,
        until=until,
        selector=selector,
    )
    before = _position_of(cursor) if cursor else None
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
        position=lambda command: _cursor_of(command_records.position_of(command)),
        following=_cursor_of(page.next) if page.next else None,
        exclude={*LARGE_COLUMNS} - {*(include or ())},
    )


def _position_of(cursor: str) -> Position:
    at, seq = cursors.decode_moment(cursor)
    return Position(at=at, seq=seq)


def _cursor_of(position: Position) -> str:
    return cursors.encode_moment(position.at, position.seq)


@api.post(f"{COMMANDS}/cancel", status_code=HTTPStatus.ACCEPTED, responses=BULK_RESPONSES)
def cancel_many(request: Annotated[BulkRequest, Body()]) -> Response[BulkDocument]:
    """Cancel all commands that a filter means, up to 10,000.

    Only those that are pending, sent or acknowledged match, and those that have timed out if `status` names them.
    """
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        done = bulk.cancel(conn, request.to_change(), by)
    return answer_with(HTTPStatus.OK if request.dry_run else HTTPStatus.ACCEPTED, BulkDocument.model_validate(done))


@api.post(f"{COMMANDS}/redrive", status_code=HTTPStatus.ACCEPTED, responses=BULK_RESPONSES)
def redrive_many(request: Annotated[BulkRequest, Body()]) -> Response[BulkDocument]:
    """Submit all commands again that a filter means and that ended without success, up to 10,000.

    A command that was redriven before does not match, so it is safe to repeat the request.
    """
    by = api.operator_with(Role.SENDER)
    with database.connect() as conn:
        done = bulk.redrive(conn, request.to_change(), by)
    return answer_with(HTTPStatus.OK if request.dry_run else HTTPStatus.ACCEPTED, BulkDocument.model_validate(done))


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
        submitted = submission.redrive(
            conn,
            command_id,
            by,
            idempotency_key=idempotency_key,
            ttl_seconds=request.ttl_seconds if request else None,
            claim=True,
        )
        if submitted.claim is not None:
            deliver_at_once(conn, gateway, submitted.command.agent_id, api.deadline, claim=submitted.claim)
    return _accepted(submitted.command)


@api.get("/api/v1/overview")
def read_overview() -> OverviewDocument:
    """Read the figures of the fleet: presence, statuses, what happens by minute, how long commands take.

    They are as of `at`.  In the series a minute is complete soon after its end; the latencies are those of the last hour.
    """
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return OverviewDocument.model_validate(overview.read(conn, scope))


@api.get("/api/v1/values")
def list_values(
    *,
    of: Annotated[known_values.Field, Query(description="Of what.")],
    search: Annotated[str, Query(max_length=128, description="A part of the value.")] = "",
    limit: Limit = 20,
) -> ValuesDocument:
    """List values that occur, to choose from in a filter.

    A bounded number of agents and commands is looked at; with a label limit, the last commands that it shows.
    """
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return ValuesDocument(values=known_values.find(conn, of, search=search, scope=scope, limit=limit))


def _accepted(command: Command) -> Response[CommandDocument]:
    return accepted(CommandDocument.model_validate(command), f"{COMMANDS}/{command.command_id}")


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
