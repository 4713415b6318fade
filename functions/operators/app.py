"""Operators: who may command, their tokens for scripts, and the record of who did what."""

from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import operators as staff
from dispatcher.access.identity import Role
from dispatcher.access.operators import NewOperator
from dispatcher.api import cursors
from dispatcher.api.documents import (
    ApiTokenDocument,
    ApiTokenList,
    ApiTokenRequest,
    AuditEntryDocument,
    AuditPage,
    NewApiTokenDocument,
    OperatorDocument,
    OperatorList,
    OperatorRequest,
)
from dispatcher.api.resolver import Api, answer_with
from dispatcher.platform import database
from dispatcher.platform.observability import logger
from dispatcher.store import journal, operators

api = Api()


@api.get("/api/v1/operators")
def list_operators() -> OperatorList:
    """List the operators that log in here."""
    api.unlimited_admin()
    with database.connect() as conn:
        accounts = operators.list_all(conn)
    return OperatorList(operators=[OperatorDocument.model_validate(account) for account in accounts])


@api.put("/api/v1/operators/<username>")
def put_operator(username: str, request: Annotated[OperatorRequest, Body()]) -> OperatorDocument:
    """Make an operator, or give an existing one this password, role and limit."""
    by = api.unlimited_admin()
    new = NewOperator(username=username, password=request.password, role=Role(request.role), scope=request.labels)
    with database.connect() as conn:
        account = staff.put(conn, new, by)
    return OperatorDocument.model_validate(account)


@api.delete("/api/v1/operators/<username>", status_code=HTTPStatus.NO_CONTENT)
def disable_operator(username: str) -> Response[None]:
    """Disable an operator and revoke his tokens for scripts."""
    by = api.unlimited_admin()
    with database.connect() as conn:
        staff.disable(conn, username, by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@api.post("/api/v1/tokens", status_code=HTTPStatus.CREATED)
def make_token(request: Annotated[ApiTokenRequest, Body()]) -> Response[NewApiTokenDocument]:
    """Make a token for scripts, with your role or less; it is shown once."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        token, secret = staff.make_token(conn, request.name, Role(request.role), request.ttl_seconds, by)
    document = NewApiTokenDocument(
        token_id=str(token.token_id),
        name=token.name,
        role=token.role,
        created_at=token.created_at,
        expires_at=token.expires_at,
        token=secret,
    )
    return answer_with(HTTPStatus.CREATED, document)


@api.get("/api/v1/tokens")
def list_tokens() -> ApiTokenList:
    """List your tokens for scripts that are valid."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        tokens = operators.tokens(conn, by.username)
    return ApiTokenList(
        tokens=[
            ApiTokenDocument(
                token_id=str(token.token_id),
                name=token.name,
                role=token.role,
                created_at=token.created_at,
                expires_at=token.expires_at,
            )
            for token in tokens
        ]
    )


@api.delete("/api/v1/tokens/<token_id>", status_code=HTTPStatus.NO_CONTENT)
def revoke_token(token_id: str) -> Response[None]:
    """Revoke one of your tokens."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        staff.revoke_token(conn, token_id, by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@api.get("/api/v1/audit")
def list_audit(
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    command_id: Annotated[str | None, Query(alias="commandId")] = None,
    actor: Annotated[str | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=cursors.PAGE_MOST)] = 50,
    cursor: Annotated[str | None, Query()] = None,
) -> AuditPage:
    """Read who did what to which agent and command, from where; the newest first."""
    api.unlimited_admin()
    before = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        page = journal.list_page(
            conn, agent_id=agent_id, command_id=command_id, actor=actor, before=before, limit=limit
        )
    return AuditPage(
        entries=[AuditEntryDocument.model_validate(entry) for entry in page],
        next_cursor=cursors.encode(page[-1].audit_id) if len(page) == limit else None,
    )


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
