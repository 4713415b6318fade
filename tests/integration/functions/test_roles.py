"""Roles: what each role may do, at every path."""

from typing import Any

import pytest

from dispatcher.access.roles import Role
from tests.integration.functions.events import AGENT, LIST, Run, ask

READERS = [
    ("agents", "GET", "/api/v1/agents"),
    ("commands", "GET", LIST),
    ("sessions", "GET", "/api/v1/sessions"),
    ("events", "GET", "/api/v1/events"),
    ("operators", "GET", "/api/v1/tokens"),
    ("agents", "GET", "/api/v1/agents/none/why"),
    ("commands", "GET", "/api/v1/overview"),
    ("commands", "GET", "/api/v1/values?of=label"),
]
SENDERS = [
    ("commands", "POST", "/api/v1/agents/none/commands"),
    ("commands", "POST", "/api/v1/commands/none/cancel"),
    ("commands", "POST", "/api/v1/commands/none/redrive"),
    ("commands", "POST", "/api/v1/commands/cancel"),
    ("commands", "POST", "/api/v1/commands/redrive"),
    ("sessions", "DELETE", "/api/v1/sessions/none"),
    ("sessions", "POST", "/api/v1/sessions/none/wake"),
]
BODIES: dict[tuple[str, str], Any] = {
    ("PATCH", "webhooks/none"): {},
    ("POST", "agents/none/commands"): {"action": "noop"},
    ("POST", "commands/cancel"): {"filter": {"agentId": "none"}},
    ("POST", "commands/redrive"): {"filter": {"agentId": "none"}},
    ("PATCH", "agents/none"): {"region": "r"},
}
ADMINS = [
    ("agents", "DELETE", "/api/v1/agents/none"),
    ("agents", "PATCH", "/api/v1/agents/none"),
    ("agents", "POST", "/api/v1/agents/none/approve"),
    ("agents", "GET", "/api/v1/agents/none/keys"),
    ("agents", "POST", "/api/v1/agents/none/keys"),
    ("agents", "DELETE", "/api/v1/agents/none/keys/x"),
    ("operators", "GET", "/api/v1/operators"),
    ("operators", "DELETE", "/api/v1/operators/none"),
    ("operators", "GET", "/api/v1/audit"),
    ("webhooks", "GET", "/api/v1/webhooks"),
    ("webhooks", "GET", "/api/v1/webhooks/none"),
    ("webhooks", "PATCH", "/api/v1/webhooks/none"),
    ("webhooks", "DELETE", "/api/v1/webhooks/none"),
    ("webhooks", "POST", "/api/v1/webhooks/none/secret"),
    ("webhooks", "POST", "/api/v1/webhooks/none/test"),
    ("webhooks", "GET", "/api/v1/webhooks/none/deliveries"),
    ("operators", "GET", "/api/v1/loss-check"),
]


@pytest.mark.parametrize(
    ("needed", "function", "method", "path"),
    [(role, *route) for role, routes in zip(Role, (READERS, SENDERS, ADMINS), strict=True) for route in routes],
)
def test_each_route_requires_its_role(run: Run, needed: Role, function: str, method: str, path: str) -> None:
    """401 without an operator, 403 for a lower role, and something else for those who may."""
    body = BODIES.get((method, path.removeprefix("/api/v1/")))

    answers = {role: ask(run, function, method, path, body, role=role)[0] for role in (None, *Role)}

    assert answers[None] == 401
    for role in Role:
        assert (answers[role] == 403) == (not role.allows(needed)), role


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/agents", {"agentId": "a9", "platform": "docker"}),
        ("POST", f"/api/v1/agents/{AGENT}/keys", None),
        ("POST", f"/api/v1/agents/{AGENT}/approve", None),
        ("DELETE", f"/api/v1/agents/{AGENT}", None),
    ],
)
def test_only_an_admin_manages_agents(run: Run, method: str, path: str, body: Any) -> None:
    """Lower roles are refused."""
    for role in Role:
        status, _ = ask(run, "agents", method, path, body, role=role)
        assert (status == 403) == (role is not Role.ADMIN), role
