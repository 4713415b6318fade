"""Agents: provide, register, list, approve, reject and delete them; their keys."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated, Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access.identity import Role
from dispatcher.agents import registry as fleet
from dispatcher.agents.registry import Introduction, NewAgent
from dispatcher.api import cursors
from dispatcher.api.documents import (
    AgentDocument,
    AgentPage,
    AgentRequest,
    EnrolmentTokenDocument,
    EnrolmentTokenRequest,
    KeyDocument,
    KeyList,
    NewAgentDocument,
    NewKeyDocument,
    RegisteredDocument,
    RegisterRequest,
)
from dispatcher.api.resolver import Api, answer_with, source_ip_of
from dispatcher.commands.model import Agent
from dispatcher.platform import database
from dispatcher.platform import edge as front_door
from dispatcher.platform.gateway import ApiGateway
from dispatcher.platform.observability import logger
from dispatcher.store import agents, keys
from dispatcher.store.enrolment import NewEnrolmentToken

REGISTER = "/api/v1/agents/register"
api = Api(public=frozenset({f"POST {REGISTER}"}))


@api.post(
    REGISTER,
    responses={
        HTTPStatus.OK: {
            "description": "It may connect",
            "content": {"application/json": {"model": RegisteredDocument}},
        },
        HTTPStatus.ACCEPTED: {
            "description": "It waits for an operator's approval",
            "content": {"application/json": {"model": RegisteredDocument}},
        },
    },
)
def register(request: Annotated[RegisterRequest, Body()]) -> Response[RegisteredDocument]:
    """Register an agent, which shows its key in the header X-Agent-Api-Key."""
    headers = front_door.headers_of(api.current_event.raw_event)
    introduction = Introduction(
        agent_id=request.agent_id,
        platform=request.platform,
        region=request.region,
        capacity=request.capacity,
        metadata=request.metadata,
    )
    with database.connect() as conn:
        registered = fleet.register(
            conn, headers.get("x-agent-api-key"), introduction, source_ip_of(api.current_event.raw_event)
        )
    agent = registered.agent
    document = RegisteredDocument(
        id=agent.agent_id,
        agent_id=agent.agent_id,
        platform=agent.platform,
        region=agent.region,
        status=agent.presence,
        approval_status=agent.approval,
        created_at=agent.created_at,
        api_key=registered.key,
    )
    status = HTTPStatus.OK if agent.approval == "approved" else HTTPStatus.ACCEPTED
    return answer_with(status, document)


@api.post("/api/v1/agents", status_code=HTTPStatus.CREATED)
def provide(request: Annotated[AgentRequest, Body()]) -> Response[NewAgentDocument]:
    """Provide an agent; its key is shown once."""
    by = api.operator_with(Role.ADMIN)
    new = NewAgent(agent_id=request.agent_id, platform=request.platform, region=request.region, labels=request.labels)
    with database.connect() as conn:
        agent, secret = fleet.provide(conn, new, by)
    document = NewAgentDocument.model_validate({**asdict(agent), "api_key": secret})
    return answer_with(HTTPStatus.CREATED, document, location=f"/api/v1/agents/{agent.agent_id}")


@api.get("/api/v1/agents")
def list_agents(
    limit: Annotated[int, Query(ge=1, le=cursors.PAGE_MOST)] = 50, cursor: Annotated[str | None, Query()] = None
) -> AgentPage:
    """List agents in the order of their ids."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        page = agents.list_page(conn, scope=scope, after=cursors.decode(cursor) if cursor else None, limit=limit)
    return AgentPage(
        agents=[AgentDocument.model_validate(agent) for agent in page],
        next_cursor=cursors.encode(page[-1].agent_id) if len(page) == limit else None,
    )


@api.get("/api/v1/agents/<agent_id>")
def read(agent_id: str) -> AgentDocument:
    """Read an agent."""
    scope = api.operator_with(Role.READER).scope
    with database.connect() as conn:
        return AgentDocument.model_validate(fleet.find(conn, agent_id, scope))


@api.delete("/api/v1/agents/<agent_id>", status_code=HTTPStatus.NO_CONTENT)
def delete(agent_id: str) -> Response[None]:
    """Delete an agent; its commands and their history stay."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        fleet.delete(conn, ApiGateway.from_environment(), agent_id, by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@api.post("/api/v1/agents/<agent_id>/approve")
def approve(agent_id: str) -> AgentDocument:
    """Approve an agent."""
    return AgentDocument.model_validate(_decide(agent_id, "approved"))


@api.post("/api/v1/agents/<agent_id>/reject")
def reject(agent_id: str) -> AgentDocument:
    """Reject an agent; its sockets are closed."""
    return AgentDocument.model_validate(_decide(agent_id, "rejected"))


def _decide(agent_id: str, approval: str) -> Agent:
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        return fleet.decide(conn, ApiGateway.from_environment(), agent_id, approval, by)


@api.post("/api/v1/agents/<agent_id>/keys", status_code=HTTPStatus.CREATED)
def issue_key(agent_id: str) -> Response[NewKeyDocument]:
    """Give an agent one more key, so that it can be rotated; it is shown once."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        key, secret = fleet.issue_key(conn, agent_id, by)
    document = NewKeyDocument(
        key_id=str(key.key_id), created_at=key.created_at, created_by=key.created_by, api_key=secret
    )
    return answer_with(HTTPStatus.CREATED, document)


@api.get("/api/v1/agents/<agent_id>/keys")
def list_keys(agent_id: str) -> KeyList:
    """List an agent's valid keys, without the keys."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        fleet.find(conn, agent_id, by.scope)
        valid = keys.valid(conn, agent_id)
    return KeyList(
        keys=[
            KeyDocument(key_id=str(key.key_id), created_at=key.created_at, created_by=key.created_by) for key in valid
        ]
    )


@api.delete("/api/v1/agents/<agent_id>/keys/<key_id>", status_code=HTTPStatus.NO_CONTENT)
def revoke_key(agent_id: str, key_id: str) -> Response[None]:
    """Revoke a key and close the agent's sockets."""
    by = api.operator_with(Role.ADMIN)
    with database.connect() as conn:
        fleet.revoke_key(conn, ApiGateway.from_environment(), agent_id, key_id, by)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@api.post("/api/v1/enrolment-tokens", status_code=HTTPStatus.CREATED)
def invite(request: Annotated[EnrolmentTokenRequest, Body()]) -> Response[EnrolmentTokenDocument]:
    """Make an enrolment token; it is shown once."""
    by = api.operator_with(Role.ADMIN)
    new = NewEnrolmentToken(
        agent_id=request.agent_id,
        prefix=request.prefix,
        labels=request.labels,
        approved=request.approved,
        uses=request.uses,
        ttl_seconds=request.ttl_seconds,
    )
    with database.connect() as conn:
        token, secret = fleet.invite(conn, new, by)
    document = EnrolmentTokenDocument(
        token_id=str(token.token_id),
        token=secret,
        agent_id=token.agent_id,
        prefix=token.prefix,
        labels=token.labels,
        approved=token.approved,
        uses_left=token.uses_left,
        expires_at=token.expires_at,
    )
    return answer_with(HTTPStatus.CREATED, document)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
