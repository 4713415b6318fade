"""StreamSpace's two agents, played by stand-ins, at a running dispatcher: sessions from start to end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.http_client import Client, Refused
from tests.conftest import scratch
from tests.e2e.dispatcher_process import PASSWORD, ROOT, Dispatcher, until, up
from tests.rows import put
from tests.streamspace.connection import Pace
from tests.streamspace.docker_agent import DockerAgent
from tests.streamspace.docker_host import DockerHost
from tests.streamspace.k8s_agent import K8sAgent
from tests.streamspace.kubernetes_cluster import Cluster, Port

CreateAgent = Callable[..., tuple[str, str]]
FAST = Pace.faster(20)
REQUEST = {
    "user": "admin",
    "template": "firefox-browser",
    "resources": {"memory": "512Mi", "cpu": "250m"},
    "persistentHome": False,
}
"""The bug report's own request."""


def session_of(client: Client, name: str) -> Any:
    """Read a session."""
    return client.get(f"/api/v1/sessions/{name}")


def becomes(client: Client, name: str, state: str) -> None:
    """Wait until a session has a state."""
    until(lambda: session_of(client, name)["state"] == state)


def start(client: Client, agent_id: str, **more: Any) -> str:
    """Start a session as the bug report does, and return its name."""
    name: str = client.post("/api/v1/sessions", {**REQUEST, "agentId": agent_id, **more})["name"]
    return name


def agent_ids(client: Client) -> list[str]:
    """Read the ids of the agents."""
    return [each["agentId"] for each in client.get("/api/v1/agents?limit=200")["agents"]]


def command_of(client: Client, command_id: str) -> Any:
    """Read a command."""
    return client.get(f"/api/v1/commands/{command_id}")


def test_a_session_lives_at_the_k8s_agent(dispatcher: Dispatcher, client: Client, create_agent: CreateAgent) -> None:
    """It starts with its ports, hibernates, wakes and stops; nothing had to be set up but the agent."""
    agent_id, key = create_agent()
    with K8sAgent(dispatcher.url, agent_id, key, Cluster(), FAST) as agent:
        name = start(client, agent_id)
        becomes(client, name, "running")
        deployment = agent.cluster.deployments[name]
        until(lambda: session_of(client, name)["details"].get("podName"))
        client.post(f"/api/v1/sessions/{name}/hibernate")
        becomes(client, name, "hibernated")
        asleep = agent.cluster.pods()
        client.post(f"/api/v1/sessions/{name}/wake")
        becomes(client, name, "running")
        awake = agent.cluster.pods()
        client.delete(f"/api/v1/sessions/{name}")
        becomes(client, name, "terminated")

    assert deployment.ports == (Port(name="vnc", number=3000),)
    assert (deployment.memory, deployment.cpu, deployment.image) == ("512Mi", "250m", "linuxserver/firefox:latest")
    assert (asleep, awake, agent.cluster.pods()) == ([], [name], [])
    assert session_of(client, name)["details"]["platformMetadata"]["podIP"] == "10.42.0.7"


def test_a_session_lives_at_the_docker_agent(dispatcher: Dispatcher, client: Client, create_agent: CreateAgent) -> None:
    """This agent cannot hibernate: the session goes on running, and says why."""
    agent_id, key = create_agent("docker")
    with DockerAgent(dispatcher.url, agent_id, key, DockerHost(), FAST) as agent:
        name = start(client, agent_id)
        becomes(client, name, "running")
        (container,) = agent.host.containers.values()
        hibernate = client.post(f"/api/v1/sessions/{name}/hibernate")["commandId"]
        until(lambda: command_of(client, hibernate)["status"] == "failed")
        failed = session_of(client, name)
        client.delete(f"/api/v1/sessions/{name}")
        becomes(client, name, "terminated")

    assert (container.ports, container.memory, container.nano_cpus) == (("3000/tcp",), 512 * 2**20, 250_000_000)
    assert failed["state"] == "running"
    assert "hibernation not yet implemented" in failed["details"]["reason"]
    assert failed["details"]["container"]["ip"] == "172.18.0.2"
    assert agent.host.containers == {}


def test_a_session_that_has_ended_is_stopped_once(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent
) -> None:
    """Two requests before the end are two commands; one after the end is none."""
    agent_id, key = create_agent("docker")
    name = start(client, agent_id)
    stops = [client.delete(f"/api/v1/sessions/{name}")["commandId"] for _ in range(2)]
    with DockerAgent(dispatcher.url, agent_id, key, DockerHost(), FAST) as agent:
        until(lambda: all(command_of(client, each)["completedAt"] for each in stops))
        ended = session_of(client, name)
        again = client.delete(f"/api/v1/sessions/{name}")
        with pytest.raises(Refused) as refused:
            client.post(f"/api/v1/sessions/{name}/wake")

    assert [command_of(client, each)["status"] for each in stops] == ["completed", "failed"]
    assert (ended["state"], again["state"], refused.value.status) == ("terminated", "terminated", 409)
    assert len(agent.executed) == 3


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_a_start_that_the_platform_refuses_is_a_failed_session(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent, platform: str
) -> None:
    """The reason is the platform's own; the same template was good enough for the service."""
    agent_id, key = create_agent(platform, suffix=f"-{platform}")
    manifest = client.get("/api/v1/templates/firefox-browser")
    spec = {**manifest["spec"], "baseImage": "example/missing", "defaultResources": {"memory": "2 gigabytes"}}
    more = {"templateManifest": {**manifest, "spec": spec}, "resources": {"memory": "1 KB", "cpu": "1"}}
    host = DockerHost(missing=frozenset({"example/missing"}))
    agent = (
        DockerAgent(dispatcher.url, agent_id, key, host, FAST)
        if platform == "docker"
        else K8sAgent(dispatcher.url, agent_id, key, Cluster(), FAST)
    )
    with agent:
        name = start(client, agent_id, **more)
        becomes(client, name, "failed")

    reason = session_of(client, name)["details"]["reason"]
    assert ("pull access denied" if platform == "docker" else "invalid memory value") in reason


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_3_2_with_streamspaces_agents(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent, platform: str
) -> None:
    """The agent is killed, the stop waits without an error, and is executed once when the agent is back."""
    agent_id, key = create_agent(platform, suffix=f"-{platform}")
    cluster, host = Cluster(), DockerHost()

    def agent() -> DockerAgent | K8sAgent:
        if platform == "docker":
            return DockerAgent(dispatcher.url, agent_id, key, host, FAST)
        return K8sAgent(dispatcher.url, agent_id, key, cluster, FAST)

    with agent():
        name = start(client, agent_id)
        becomes(client, name, "running")
    until(lambda: client.get(f"/api/v1/agents/{agent_id}")["presence"] == "offline")
    stop = client.delete(f"/api/v1/sessions/{name}")["commandId"]
    waiting = command_of(client, stop)
    with agent() as back:
        becomes(client, name, "terminated")

    assert (waiting["status"], waiting["errorMessage"]) == ("pending", None)
    assert command_of(client, stop)["status"] == "completed"
    assert back.executed == [stop]
    assert (cluster.pods(), host.containers) == ([], {})


@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_two_hundred_commands_wait_and_are_executed_once_in_order(
    dispatcher: Dispatcher, client: Client, create_agent: CreateAgent, platform: str
) -> None:
    """Rows of psql, which name their session only in the payload, as StreamSpace's control plane does."""
    agent_id, key = create_agent(platform, suffix=f"-{platform}")
    manifest = client.get("/api/v1/templates/firefox-browser")
    start_payload = {"user": "ann", "template": "firefox-browser", "templateManifest": manifest}
    prefix = platform[0]
    sent: list[str] = []
    with dispatcher.database() as conn:
        for number in range(100):
            for action, payload in (("start_session", start_payload), ("stop_session", {})):
                sent.append(f"{prefix}-{number}-{action}")
                put(
                    conn,
                    sent[-1],
                    agent_id,
                    action=action,
                    payload=json.dumps({**payload, "sessionId": f"{prefix}-{number}"}),
                )
    cluster, host = Cluster(), DockerHost()
    quick = Pace(pod_start=0, vnc_ready=0)
    agent = (
        DockerAgent(dispatcher.url, agent_id, key, host, quick)
        if platform == "docker"
        else K8sAgent(dispatcher.url, agent_id, key, cluster, quick)
    )
    with agent:
        until(lambda: session_of(client, f"{prefix}-99")["state"] == "terminated", seconds=90)
        executed = list(agent.executed)

    # The docker-agent gets one command of each session at a time, so that only those of one session are in order.
    assert sorted(executed, key=lambda each: int(each.split("-")[1])) == sent
    assert executed == sent or platform == "docker"
    assert (cluster.deployments, host.containers) == ({}, {})
    states = {session_of(client, f"{prefix}-{number}")["state"] for number in range(100)}
    assert states == {"terminated"}


def test_a_mute_agent_gets_nothing_more_until_it_speaks() -> None:
    """The service is away for 40 s, and a heartbeat meets the closed socket; all periods are 20 times shorter."""
    with scratch() as home, up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD, DISPATCHER_SWEEP_SECONDS="1") as dispatcher:
        client = dispatcher.client()
        key = client.post("/api/v1/agents", {"agentId": "k8s", "platform": "kubernetes"})["apiKey"]
        cluster = Cluster()
        with K8sAgent(dispatcher.url, "k8s", key, cluster, FAST) as agent:
            name = start(client, "k8s")
            becomes(client, name, "running")
            dispatcher.stop()
            until(lambda: agent.is_mute)
            dispatcher.start()
            until(lambda: agent.is_connected)

            stop = client.delete(f"/api/v1/sessions/{name}")["commandId"]
            until(lambda: stop in agent.executed)
            # Five more connections of the mute agent, each after its read deadline.
            for _ in range(5):
                until(lambda: not agent.is_connected)
                until(lambda: agent.is_connected)
            executions = agent.executed.count(stop)
            command, presence = command_of(client, stop), client.get("/api/v1/agents/k8s")["presence"]
            why = client.get(f"/api/v1/commands/{stop}/why")["sentence"]
        with K8sAgent(dispatcher.url, "k8s", key, cluster, FAST):
            becomes(client, name, "terminated")
        dispatcher.stop()

    # One more try: the first connection was shorter than a heartbeat, so that it may just have been lost.
    assert executions <= 2
    assert command["status"] in {"pending", "sent"}
    assert presence in {"mute", "degraded"}
    assert "restart" in why.lower()


def test_without_a_write_in_between_the_k8s_agent_survives_a_restart_of_the_service() -> None:
    """The other half of the mute agent: here no write meets the closed socket."""
    with scratch() as home, up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD, DISPATCHER_SWEEP_SECONDS="1") as dispatcher:
        client = dispatcher.client()
        key = client.post("/api/v1/agents", {"agentId": "k8s", "platform": "kubernetes"})["apiKey"]
        with K8sAgent(dispatcher.url, "k8s", key, Cluster(), Pace(reconnect=0.1, vnc_ready=0.3)) as agent:
            name = start(client, "k8s")
            # The last word of a start.
            until(lambda: '"vncPort": 5901' in json.dumps(session_of(client, name)))
            dispatcher.stop()
            dispatcher.start()
            client = dispatcher.client()
            client.delete(f"/api/v1/sessions/{name}")
            becomes(client, name, "terminated")
            mute = agent.is_mute
        dispatcher.stop()

    assert not mute


def test_an_enrolled_k8s_agent_comes_in_once_it_is_approved(dispatcher: Dispatcher, client: Client) -> None:
    """It asks again and again with the enrolment token that it was given."""
    token = client.post("/api/v1/enrolment-tokens", {"agentId": "enrolled-k8s"})["token"]
    with K8sAgent(dispatcher.url, "enrolled-k8s", token, Cluster(), FAST) as agent:
        until(lambda: len(agent.registrations) >= 3, seconds=10)
        before = agent.registrations[:3]
        client.post("/api/v1/agents/enrolled-k8s/approve")
        until(lambda: agent.is_connected, seconds=10)
        name = start(client, "enrolled-k8s")
        becomes(client, name, "running")

    assert before == [202, 202, 202]


def test_an_enrolled_docker_agent_idles_while_it_waits_for_approval(dispatcher: Dispatcher, client: Client) -> None:
    """It takes the answer 202 for an error, and does not ask again."""
    token = client.post("/api/v1/enrolment-tokens", {"agentId": "enrolled-docker"})["token"]
    with DockerAgent(dispatcher.url, "enrolled-docker", token, DockerHost(), FAST) as agent:
        until(lambda: agent.is_idle)

    assert client.get("/api/v1/agents/enrolled-docker")["approval"] == "pending"


def test_an_enrolled_docker_agent_works_with_a_token_that_needs_no_approval(
    dispatcher: Dispatcher, client: Client
) -> None:
    """It connects with what it registered with."""
    token = client.post("/api/v1/enrolment-tokens", {"agentId": "trusted-docker", "approved": True, "reusable": True})[
        "token"
    ]
    with DockerAgent(dispatcher.url, "trusted-docker", token, DockerHost(), FAST) as agent:
        until(lambda: agent.is_idle or "trusted-docker" in agent_ids(client))
        name = start(client, "trusted-docker")
        until(lambda: session_of(client, name)["state"] == "running" or agent.is_idle)
        idle = agent.is_idle

    assert not idle


def test_a_folder_of_templates_is_imported_from_the_command_line(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """`make templates` speaks to the HTTP API, with an API token or as the admin."""
    manifest = client.get("/api/v1/templates/firefox-browser")
    for name in ("imported", "also-imported"):
        (tmp_path / f"{name}.yaml").write_text(json.dumps({**manifest, "metadata": {"name": name}}))
    (tmp_path / "misread.yml").write_text(json.dumps({**manifest, "metadata": {"name": "misread"}, "spec": {}}))

    def imported(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local.tools.templates_import", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'layers/dispatcher'}", **variables},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert client.token is not None
    done = imported(DISPATCHER_URL=dispatcher.url, DISPATCHER_TOKEN=client.token)
    again = imported(DISPATCHER_URL=f"{dispatcher.url}/", DISPATCHER_ADMIN_PASSWORD=PASSWORD)
    denied = imported(DISPATCHER_URL=dispatcher.url, DISPATCHER_TOKEN="x")

    assert done.stdout == "stored   also-imported\nstored   imported\n2 stored, 1 refused\n"
    assert "misread.yml: 422" in done.stderr
    assert (done.returncode, again.returncode, denied.returncode) == (1, 1, 1)
    assert again.stdout == done.stdout
    assert "Next: set DISPATCHER_URL" in denied.stderr
    assert client.get("/api/v1/templates/imported")["spec"] == manifest["spec"]
