"""Agents: create, register, list, approve, reject and delete them; their keys and enrolment tokens."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any, Literal

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Header, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.roles import Role
from dispatcher.access.scopes import Scope
from dispatcher.agents import (
    agent_keys,
    agent_lists,
    changes,
    enrolment,
    enrolment_tokens,
    longest_due,
    registry,
    selectors,
)
from dispatcher.agents.agent_lists import AgentFilter
from dispatcher.agents.longest_due import Place
from dispatcher.agents.registry import Agent, Presence
from dispatcher.api import cursors
from dispatcher.api.agent_problems import readable_by_agents
from dispatcher.api.agent_schemas import (
    AgentDocument,
    AgentPage,
    AgentPatchRequest,
    AgentRequest,
    AgentWhyDocument,
    KeyDocument,
    KeyList,
    NewAgentDocument,
    NewKeyDocument,
    RegisteredDocument,
    RegisterRequest,
)
from dispatcher.api.enrolment_schemas import (
    EnrolmentTokenDocument,
    EnrolmentTokenPage,
    EnrolmentTokenRequest,
    NewEnrolmentTokenDocument,
)
from dispatcher.api.event_schemas import AgentEventPage
from dispatcher.api.resolver import Api, Cursor, Limit, Selecting, answer_page, answer_with, no_content
from dispatcher.commands import agent_explanation
from dispatcher.events import feed
from dispatcher.platform import database
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logged

REGISTER = "/api/v1/agents/register"
ENROLMENT_TOKENS = "/api/v1/enrolment-tokens"
api = Api(public=frozenset({f"POST {REGISTER}"}))


@api.post(
    REGISTER,
    responses={
        HTTPStatus.OK: {
            "description": "The agent may connect",
            "content": {"application/json": {"model": RegisteredDocument}},
        },
        HTTPStatus.ACCEPTED: {
            "description": "The agent waits for an operator's approval",
            "content": {"application/json": {"model": RegisteredDocument}},
        },
    },
)
def register(request: Annotated[RegisterRequest, Body()]) -> Response[RegisteredDocument]:
    """Register an agent; it sends its key in the header X-Agent-Api-Key."""
    key, registration = agent_keys.key_of(api.headers), request.to_registration()
    registered = database.persistently(lambda conn: enrolment.register(conn, key, registration, api.source_ip))
    status = HTTPStatus.OK if registered.agent.approval == "approved" else HTTPStatus.ACCEPTED
    return answer_with(status, RegisteredDocument.of(registered))


@api.post("/api/v1/agents", status_code=HTTPStatus.CREATED)
def create(request: Annotated[AgentRequest, Body()]) -> Response[NewAgentDocument]:
    """Create an agent and its first key; the key is shown once."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        agent, secret = enrolment.create_agent(conn, request.to_agent(), by)
    document = NewAgentDocument.model_validate({**asdict(agent), "api_key": secret})
    return answer_with(HTTPStatus.CREATED, document, location=f"/api/v1/agents/{agent.agent_id}")


@api.get("/api/v1/agents")
def list_agents(
    *,
    presence: Annotated[Presence | None, Query()] = None,
    approval: Annotated[Literal["pending", "approved", "rejected"] | None, Query()] = None,
    platform: Annotated[str | None, Query()] = None,
    selector: Selecting = None,
    backlog: Annotated[bool | None, Query(description="Whether commands wait for it.")] = None,
    search: Annotated[str | None, Query(min_length=1, max_length=128, description="A part of its id.")] = None,
    sort: Annotated[
        Literal["id", "oldestDue"],
        Query(
            description="`oldestDue`: only agents for which a command is due, in the order in which the oldest was accepted."
        ),
    ] = "id",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response[AgentPage]:
    """List agents, ordered by id, or by how long something waits for them.

    A page may end before its limit, because of its size or because no index fits the filter: go on while there is a
    nextCursor.
    """
    scope = api.operator_with(Role.READER).scope
    wanted = AgentFilter(
        presence=presence,
        approval=approval,
        platform=platform,
        selector=selectors.parse(selector) if selector is not None else None,
        backlog=backlog,
        search=search,
    )
    if sort == "oldestDue":
        return _by_oldest_due(scope, wanted, limit, cursor)
    after = cursors.decode(cursor) if cursor else None
    with database.connect() as conn:
        page = agent_lists.list_page(conn, scope=scope, wanted=wanted, after=after, limit=limit)
    return answer_page(
        "agents",
        page.agents,
        AgentDocument.model_validate,
        limit=limit,
        position=lambda agent: agent.agent_id,
        following=page.next,
    )


def _by_oldest_due(scope: Scope, wanted: AgentFilter, limit: int, cursor: str | None) -> Response[AgentPage]:
    at, seq = cursors.decode_moment(cursor) if cursor else (None, 0)
    after = None if at is None else Place(at=at, seq=seq)
    with database.connect() as conn:
        page = longest_due.list_page(conn, scope=scope, wanted=wanted, after=after, limit=limit)
    return answer_page(
        "agents",
        page.agents,
        AgentDocument.model_validate,
        limit=limit,
        position=lambda agent: _cursor_at(page.places[agent.agent_id]),
        following=None if page.next is None else _cursor_at(page.next),
    )


def _cursor_at(place: Place) -> str:
    return cursors.encode_moment(place.at, place.seq)


@api.get("/api/v1/agents/<agent_id>")
def read(agent_id: str) -> Response[AgentDocument]:
    """Read an agent."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return _with_version(registry.find(conn, agent_id, scope))


@api.patch("/api/v1/agents/<agent_id>")
def change(
    agent_id: str,
    request: Annotated[AgentPatchRequest, Body()],
    if_match: Annotated[str | None, Header(alias="If-Match", min_length=1, max_length=256)] = None,
) -> Response[AgentDocument]:
    """Change the labels and the region of an agent, by a JSON Merge Patch.

    With `If-Match`, only if nobody has changed them since the answer with this `ETag`.
    """
    by = api.operator_with(Role.ADMIN)
    only_if = None if if_match in {None, "*"} else {each.strip() for each in str(if_match).split(",")}
    with database.connect() as conn:
        return _with_version(changes.change(conn, agent_id, request.to_patch(), by, only_if=only_if))


def _with_version(agent: Agent) -> Response[AgentDocument]:
    answer = answer_with(HTTPStatus.OK, AgentDocument.model_validate(agent))
    answer.headers["ETag"] = changes.version_of(agent)
    return answer


@api.delete("/api/v1/agents/<agent_id>", status_code=HTTPStatus.NO_CONTENT)
def delete(agent_id: str) -> Response[None]:
    """Delete an agent; its commands and their history stay."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        registry.delete(conn, ApiGateway.from_environment(), agent_id, by)
    return no_content()


@api.get("/api/v1/agents/<agent_id>/why")
def read_why(agent_id: str) -> AgentWhyDocument:
    """Compute the one reason why an agent has nothing delivered, and what would unblock it."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return AgentWhyDocument.model_validate(agent_explanation.explain(conn, agent_id, scope))


@api.get("/api/v1/agents/<agent_id>/events")
def list_events(agent_id: str, limit: Limit = 50, cursor: Cursor = None) -> Response[AgentEventPage]:
    """Read when an agent connected, disconnected, was approved and so on, newest first; not the events of its commands."""
    scope = api.operator_with(Role.READER).scope
    before = cursors.decode_number(cursor) if cursor else None
    with database.connect() as conn:
        registry.find(conn, agent_id, scope)
        page = feed.of_agent(conn, agent_id, before=before, limit=limit)
    body: Any = {
        "events": [feed.as_json(event) for event in page],
        "nextCursor": cursors.next_cursor(page, limit, feed.number_of),
    }
    return Response(status_code=HTTPStatus.OK, content_type="application/json", body=body)


@api.post("/api/v1/agents/<agent_id>/approve")
def approve(agent_id: str) -> AgentDocument:
    """Approve an agent."""
    return _set_approval(agent_id, "approved")


@api.post("/api/v1/agents/<agent_id>/reject")
def reject(agent_id: str) -> AgentDocument:
    """Reject an agent; its connections are closed."""
    return _set_approval(agent_id, "rejected")


def _set_approval(agent_id: str, approval: str) -> AgentDocument:
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        agent = registry.set_approval(conn, ApiGateway.from_environment(), agent_id, approval, by)
    return AgentDocument.model_validate(agent)


@api.post("/api/v1/agents/<agent_id>/keys", status_code=HTTPStatus.CREATED)
def issue_key(agent_id: str) -> Response[NewKeyDocument]:
    """Give an agent one more key, for a rotation; the key is shown once."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        key, secret = agent_keys.issue(conn, agent_id, by)
    return answer_with(HTTPStatus.CREATED, NewKeyDocument.model_validate({**asdict(key), "api_key": secret}))


@api.get("/api/v1/agents/<agent_id>/keys")
def list_keys(agent_id: str, limit: Limit = 50, cursor: Cursor = None) -> KeyList:
    """List an agent's valid keys, without the keys themselves."""
    by = api.operator_with(Role.ADMIN)
    after = cursors.decode_number(cursor) if cursor else 0
    with database.connect() as conn:
        page = agent_keys.list_page(conn, agent_id, by, after=after, limit=limit)
    return KeyList(
        keys=[KeyDocument.model_validate(key) for key in page],
        next_cursor=cursors.next_cursor(page, limit, lambda key: key.position),
    )


@api.delete("/api/v1/agents/<agent_id>/keys/<key_id>", status_code=HTTPStatus.NO_CONTENT)
def revoke_key(agent_id: str, key_id: str) -> Response[None]:
    """Revoke a key and close the connections that it opened."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        agent_keys.revoke(conn, ApiGateway.from_environment(), agent_id, key_id.lower(), by)
    return no_content()


@api.post(ENROLMENT_TOKENS, status_code=HTTPStatus.CREATED)
def create_enrolment_token(request: Annotated[EnrolmentTokenRequest, Body()]) -> Response[NewEnrolmentTokenDocument]:
    """Create an enrolment token; it is shown once."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        token, secret = enrolment_tokens.create(conn, request.to_token(), by)
    document = NewEnrolmentTokenDocument.model_validate({**asdict(token), "token": secret})
    return answer_with(HTTPStatus.CREATED, document, location=f"{ENROLMENT_TOKENS}/{token.token_id}")


@api.get(ENROLMENT_TOKENS)
def list_enrolment_tokens(limit: Limit = 50, cursor: Cursor = None) -> EnrolmentTokenPage:
    """List the enrolment tokens that are valid, without the tokens themselves."""
    scope = api.operator_with(Role.ADMIN).scope
    after = cursors.decode_number(cursor) if cursor else 0
    with database.connect() as conn:
        page = enrolment_tokens.list_page(conn, scope=scope, after=after, limit=limit)
    return EnrolmentTokenPage(
        enrolment_tokens=[EnrolmentTokenDocument.model_validate(token) for token in page],
        next_cursor=cursors.next_cursor(page, limit, lambda token: token.position),
    )


@api.get(f"{ENROLMENT_TOKENS}/<token_id>")
def read_enrolment_token(token_id: str) -> EnrolmentTokenDocument:
    """Read an enrolment token that is valid, without the token itself."""
    scope = api.operator_with(Role.ADMIN).scope
    with database.connect() as conn:
        return EnrolmentTokenDocument.model_validate(enrolment_tokens.find(conn, token_id, scope))


@api.delete(f"{ENROLMENT_TOKENS}/<token_id>", status_code=HTTPStatus.NO_CONTENT)
def revoke_enrolment_token(token_id: str) -> Response[None]:
    """Revoke an enrolment token; agents that have enrolled with it keep their keys."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        enrolment_tokens.revoke(conn, token_id, by)
    return no_content()


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    answer = api.answer(event, context)
    return readable_by_agents(answer) if event["rawPath"] == REGISTER else answer
