"""Events for the functions."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt

from dispatcher.access import authentication, login
from dispatcher.access.roles import Role
from dispatcher.errors import NotAuthenticated

SAMPLES = Path(__file__).resolve().parents[3] / "events"
AGENT = "k8s-dev-1"
KEY = "0123456789abcdef" * 4
KEY_ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
COMMANDS = f"/api/v1/agents/{AGENT}/commands"
LIST = "/api/v1/commands"
LOGIN = "/api/v1/auth/login"
REGISTER = "/api/v1/agents/register"
TOKEN_SECRET = "7" * 64
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"  # pragma: allowlist secret
"""The trace of every request: so equal requests have equal answers."""
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CALLER = "caller of the test"
"""The member of an event that names its operator, until `run` replaces it by a token."""
Run = Callable[..., Any]
"""Runs a function by name, with its sample event unless another is given."""


def sample(function: str) -> Any:
    """Read a function's sample event."""
    return json.loads((SAMPLES / f"{function}.json").read_text())


def connection_of_sample() -> str:
    """Return the id of the connection that the sample event of `connect` opens."""
    connection_id: str = sample("connect")["requestContext"]["connectionId"]
    return connection_id


def message_event(connection_id: str, body: dict[str, Any] | str) -> dict[str, Any]:
    """Build the event of an agent's message; a dictionary is sent as JSON."""
    event: dict[str, Any] = sample("message")
    event["requestContext"]["connectionId"] = connection_id
    return {**event, "body": body if isinstance(body, str) else json.dumps(body)}


def request(
    method: str,
    path: str,
    body: Any = None,
    *,
    role: Role | None = Role.ADMIN,
    raw: str | None = None,
    labels: Any = None,
    **headers: str,
) -> dict[str, Any]:
    """Build an HTTP event as API Gateway does, of an operator with this role; `run` adds the operator's token."""
    context: dict[str, Any] = {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "stage": "$default"}
    path, _, query = path.partition("?")
    return {
        CALLER: None if role is None else {"username": f"the-{role}", "role": str(role), "labels": labels},
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "queryStringParameters": dict(pair.split("=", 1) for pair in query.split("&")) if query else None,
        "headers": {"content-type": "application/json", "traceparent": TRACEPARENT}
        | {name.lower().replace("_", "-"): text for name, text in headers.items()},
        "requestContext": context,
        "body": raw if raw is not None else None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def ask(run: Run, function: str, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    """Send a request to a function; return the status and the decoded body."""
    answer = run(function, request(method, path, body, **options))
    return answer["statusCode"], json.loads(answer["body"]) if answer.get("body") else None


def token_of(username: str, *, issued_at: float | None = None, **claims: Any) -> str:
    """Sign a token as a log-in does."""
    issued_at = time.time() if issued_at is None else issued_at
    own = {"iss": login.ISSUER, "sub": username, "iat": issued_at, "exp": issued_at + login.TOKEN_SECONDS}
    return jwt.encode(own | claims, TOKEN_SECRET, algorithm=login.ALGORITHM)


def operator_of(run: Run, token: str) -> dict[str, Any]:
    """Return who a token belongs to, as the functions read it; empty for an invalid token."""
    del run  # the database and the settings are those of its functions
    try:
        operator = authentication.operator_of(f"Bearer {token}", "192.0.2.1")
    except NotAuthenticated:
        return {}
    labels = {} if operator.scope is None else {"labels": operator.scope}
    return {"username": operator.username, "role": str(operator.role)} | labels


def as_bearer(token: str) -> dict[str, str]:
    """Return the options of `ask` for a request with this token."""
    return {"Authorization": f"Bearer {token}"}


def admission(run: Run, key: str, agent_id: str = AGENT) -> str:
    """Ask the WebSocket authorizer about a key; return the policy's effect."""
    event = sample("authorize_agent")
    event["headers"]["X-Agent-Api-Key"] = key
    event["queryStringParameters"] = {"agent_id": agent_id}
    answer = run("authorize_agent", event)
    effect: str = answer["policyDocument"]["Statement"][0]["Effect"]
    assert (answer["context"].get("agentId") == agent_id) == ("keyId" in answer["context"]) == (effect == "Allow")
    return effect
