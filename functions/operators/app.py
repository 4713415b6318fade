"""Operators: their log-ins and accounts, their API tokens, the audit log, and the loss check on request."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import (
    api_tokens,
    audit_log,
    authentication,
    browser_sessions,
    login,
    operators,
    provider_log_in,
)
from dispatcher.access.roles import Operator, Role
from dispatcher.api import cursors
from dispatcher.api.operator_schemas import (
    ApiTokenDocument,
    ApiTokenPage,
    ApiTokenRequest,
    AuditEntryDocument,
    AuditPage,
    CodeRequest,
    LogInDocument,
    LoginRequest,
    LossReportDocument,
    NewApiTokenDocument,
    OperatorDocument,
    OperatorPage,
    OperatorRequest,
    OwnSessionDocument,
    TokenDocument,
)
from dispatcher.api.resolver import Api, Cursor, Limit, answer_with, no_content
from dispatcher.commands import loss_check
from dispatcher.platform import database
from dispatcher.platform.observability import logged

LOGIN = "/api/v1/auth/login"
SESSION = "/api/v1/auth/session"
PROVIDER = "/api/v1/auth/provider"
api = Api(public=frozenset({f"POST {LOGIN}", f"POST {SESSION}", f"GET {PROVIDER}", f"POST {PROVIDER}"}))


@api.post(LOGIN)
def log_in(request: Annotated[LoginRequest, Body()]) -> TokenDocument:
    """Exchange a password for a token."""
    username, password, source_ip = request.username, request.password, api.source_ip
    token = database.persistently(lambda conn: login.log_in(conn, username, password, source_ip))
    return TokenDocument.model_validate(token)


@api.post(SESSION)
def start_session(request: Annotated[LoginRequest, Body()]) -> Response[OwnSessionDocument]:
    """Log in a browser: the session is in a cookie that scripts cannot read."""
    browser_sessions.require_own_page(api.headers)
    username, password, source_ip, seconds = request.username, request.password, api.source_ip, login.SESSION_SECONDS
    token = database.persistently(lambda conn: login.log_in(conn, username, password, source_ip, seconds=seconds)).token
    return _session(authentication.operator_of(f"Bearer {token}", source_ip), token, seconds)


@api.get(PROVIDER)
def read_provider() -> LogInDocument:
    """Read where a browser logs in with OpenID Connect, if that is configured."""
    return LogInDocument.of(provider_log_in.provider())


@api.post(PROVIDER)
def start_session_of_provider(request: Annotated[CodeRequest, Body()]) -> Response[OwnSessionDocument]:
    """Log in a browser that comes back from the OpenID Connect issuer with a code; it gets the cookie of a session."""
    browser_sessions.require_own_page(api.headers)
    logged_in = provider_log_in.log_in(database.connect, request.to_code(), api.source_ip)
    return _session(logged_in.operator, logged_in.token, logged_in.seconds)


def _session(operator: Operator, token: str, seconds: int) -> Response[OwnSessionDocument]:
    answer = answer_with(HTTPStatus.OK, OwnSessionDocument.of(operator, token))
    answer.headers["Set-Cookie"] = browser_sessions.cookie(token, seconds, api.headers)
    return answer


@api.get(SESSION)
def read_session() -> OwnSessionDocument:
    """Read who you are: your role and your label limit."""
    return OwnSessionDocument.of(api.operator_with(Role.READER), api.token)


@api.delete(SESSION, status_code=HTTPStatus.NO_CONTENT)
def end_session() -> Response[None]:
    """Log out: the token of this log-in is refused from now on."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        login.log_out(conn, api.token, by)
    answer = no_content()
    answer.headers["Set-Cookie"] = browser_sessions.cookie("", 0, api.headers)
    return answer


@api.get("/api/v1/operators")
def list_operators(limit: Limit = 50, cursor: Cursor = None) -> OperatorPage:
    """List the operators that have an account here, ordered by name."""
    api.unlimited_admin()
    after = cursors.decode(cursor) if cursor else ""
    with database.connect() as conn:
        page = operators.list_page(conn, after=after, limit=limit)
    return OperatorPage(
        operators=[OperatorDocument.model_validate(account) for account in page],
        next_cursor=cursors.next_cursor(page, limit, lambda account: account.username),
    )


@api.put("/api/v1/operators/<username>")
def put_operator(username: str, request: Annotated[OperatorRequest, Body()]) -> OperatorDocument:
    """Create an operator, or give an existing one this password, role and label limit; fewer rights end their tokens."""
    by = api.unlimited_admin()
    with database.connect() as conn:
        return OperatorDocument.model_validate(operators.put(conn, request.to_operator(username), by))


@api.delete("/api/v1/operators/<username>", status_code=HTTPStatus.NO_CONTENT)
def disable_operator(username: str) -> Response[None]:
    """Disable an operator and end their tokens."""
    by = api.unlimited_admin()
    with database.connect() as conn:
        operators.disable(conn, username, by)
    return no_content()


@api.post("/api/v1/tokens", status_code=HTTPStatus.CREATED)
def create_token(request: Annotated[ApiTokenRequest, Body()]) -> Response[NewApiTokenDocument]:
    """Create an API token with your role or a lower one; it is shown once, and ends with the API token you send, if any."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        token, secret = api_tokens.create(conn, request.name, Role(request.role), request.ttl_seconds, by)
    return answer_with(HTTPStatus.CREATED, NewApiTokenDocument.model_validate({**asdict(token), "token": secret}))


@api.get("/api/v1/tokens")
def list_tokens(limit: Limit = 50, cursor: Cursor = None) -> ApiTokenPage:
    """List your API tokens that are valid, oldest first."""
    by = api.operator_with(Role.READER)
    after = cursors.decode_number(cursor) if cursor else 0
    with database.connect() as conn:
        page = api_tokens.list_valid(conn, by.username, after=after, limit=limit)
    return ApiTokenPage(
        tokens=[ApiTokenDocument.model_validate(token) for token in page],
        next_cursor=cursors.next_cursor(page, limit, lambda token: token.position),
    )


@api.delete("/api/v1/tokens/<token_id>", status_code=HTTPStatus.NO_CONTENT)
def revoke_token(token_id: str) -> Response[None]:
    """Revoke one of your API tokens, and the tokens that were made with it."""
    by = api.operator_with(Role.READER)
    with database.connect() as conn:
        api_tokens.revoke(conn, token_id, by)
    return no_content()


@api.get("/api/v1/audit")
def list_audit(
    agent_id: Annotated[str | None, Query(alias="agentId")] = None,
    command_id: Annotated[str | None, Query(alias="commandId")] = None,
    actor: Annotated[str | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Read the audit log, newest first: who did what to which agent and command, and from where."""
    api.unlimited_admin()
    before = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        page = audit_log.list_page(
            conn, agent_id=agent_id, command_id=command_id, actor=actor, before=before, limit=limit
        )
    return AuditPage(
        entries=[AuditEntryDocument.model_validate(entry) for entry in page],
        next_cursor=cursors.next_cursor(page, limit, lambda entry: entry.audit_id),
    )


@api.get("/api/v1/loss-check")
def check_for_loss() -> LossReportDocument:
    """Check the invariants on the live rows now, as the service itself does every five minutes."""
    api.unlimited_admin()
    with database.connect() as conn:
        return LossReportDocument.model_validate(loss_check.check_for_loss(conn))


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
