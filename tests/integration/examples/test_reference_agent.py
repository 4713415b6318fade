"""The reference agent as a process, against the conformance kit's simulated service.

The conformance kit's own tests show that this agent does what every agent must do; these tests are about the rest.
"""

import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import psutil
import pytest

from conformance.findings import Findings
from conformance.harness import Harness, Limits, Options
from conformance.message_codec import Command
from examples.reference_agent.service_client import Backoff
from examples.reference_agent.session_processes import Sessions

ROOT = Path(__file__).parents[3]
SECONDS = 60.0
"""How long a test waits for an event, on a busy machine too."""
START = {"sessionId": "sess-1", "template": "firefox-browser"}
STOP = {"sessionId": "sess-1"}

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of the agent's sessions."""
    return tmp_path / "state"


@contextlib.asynccontextmanager
async def harness_of(state: Path, *options: str) -> AsyncGenerator[Harness]:
    """Prepare an agent with these options; its sessions are stopped at the end."""
    command = [
        sys.executable,
        "-m",
        "examples.reference_agent",
        "--url",
        "{url}",
        "--id",
        "{id}",
        "--state",
        str(state),
    ]
    kit = Options(
        agent=shlex.join([*command, "--backoff-max", "0.2", *options]),
        limits=Limits(start=SECONDS, answer=SECONDS, reconnect=SECONDS),
    )
    folder = state.with_name(f"harness-{len(list(state.parent.iterdir()))}")
    try:
        async with Harness(kit, Findings([]), "agent", folder) as harness:
            yield harness
    finally:
        sessions = Sessions(state)
        for session_id in sessions.active():
            sessions.stop(session_id)


@pytest.fixture(autouse=True)
def repository_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is started as a module of the repository."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def pid_of(state: Path) -> int:
    """Return the process of the session."""
    return int((state / "sess-1.pid").read_text())


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    return psutil.pid_exists(pid) and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def command(command_id: str, action: str, payload: dict[str, Any]) -> Command:
    """Make a command."""
    return Command(command_id=command_id, action=action, payload=payload)


def messages(harness: Harness) -> list[dict[str, Any]]:
    """Return what the agent sent."""
    return [json.loads(message.data) for message in harness.messages()]


async def test_it_registers_and_connects_as_the_k8s_agent_does(state: Path) -> None:
    """Its handshake requests no subprotocol and no extension."""
    async with harness_of(state) as harness:
        await harness.start_and_connect()

        registration, handshake = harness.service.calls

    assert json.loads(registration.body) == {
        "agentId": "conformance-agent",
        "platform": "kubernetes",
        "region": "us-east-1",
        "capacity": {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"},
        "metadata": {"kubernetes": True, "namespace": "streamspace"},
    }
    assert not {"origin", "sec-websocket-protocol", "sec-websocket-extensions"} & handshake.headers.keys()


async def test_a_start_is_acknowledged_then_reported_with_the_place_of_the_session(state: Path) -> None:
    """In the order of the k8s-agent: ack, status, complete."""
    async with harness_of(state) as harness:
        await harness.start_and_connect()
        assert await harness.execute(command("cmd-1", "start_session", START)) is None
        pid = pid_of(state)

        sent = messages(harness)

    pod = {"podIP": "127.0.0.1", "podName": f"sess-1-{pid}"}
    session = {"sessionId": "sess-1", "state": "running", "vncPort": 3000}
    result = {**session, **pod, "deployment": "sess-1", "service": "sess-1"}
    assert sent == [
        {"type": "ack", "payload": {"commandId": "cmd-1"}},
        {"type": "status", "payload": {**session, "vncReady": True, "platformMetadata": pod}},
        {"type": "complete", "payload": {"commandId": "cmd-1", "result": result}},
    ]


async def test_a_session_survives_a_killed_agent_and_is_stopped_by_the_next(state: Path) -> None:
    """As in Integration Test 3.2."""
    async with harness_of(state) as harness:
        await harness.start_and_connect()
        assert await harness.execute(command("cmd-1", "start_session", START)) is None
        pid = pid_of(state)
        await harness.agent.kill()
        survived = is_alive(pid)

        await harness.start_and_connect()
        assert await harness.execute(command("cmd-2", "stop_session", STOP)) is None

    assert survived
    assert not is_alive(pid)


async def test_it_reports_the_number_of_its_sessions_in_heartbeats(state: Path) -> None:
    """It also answers a ping message."""
    async with harness_of(state, "--heartbeat", "0.2") as harness:
        connection = await harness.start_and_connect()
        connection.send('{"type": "ping"}')
        assert await harness.execute(command("cmd-1", "start_session", START)) is None
        capacity = {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"}
        payload = {"status": "online", "activeSessions": 1, "capacity": capacity}

        assert await harness.until(lambda: {"type": "heartbeat", "payload": payload} in messages(harness), SECONDS)
        assert {"type": "pong"} in messages(harness)


async def test_an_end_that_was_lost_with_its_connection_is_sent_over_the_next_one(state: Path) -> None:
    """The command is executed although its connection is closed at once."""
    async with harness_of(state) as harness:
        connection = await harness.start_and_connect()
        start = command("cmd-1", "start_session", START)
        connection.send(*harness.record(start), close=1001)
        await harness.connected(None, after=1, seconds=SECONDS)

        assert await harness.wait_for_ends(start) is None
        assert is_alive(pid_of(state))


async def test_it_waits_for_approval_and_uses_the_key_of_the_answer(state: Path) -> None:
    """It asks again until an operator has approved it."""
    async with harness_of(state, "--poll", "0.1") as harness:
        service = harness.service
        service.registration = service.pending
        await harness.agent.start()
        assert await harness.until(lambda: len(service.called("register")) > 2, SECONDS)
        assert service.called("connect") == []

        service.registration = (200, {"agentId": harness.agent_id, "apiKey": "f" * 64})
        await harness.connected(None, after=0, seconds=SECONDS)

    assert service.called("connect")[0].headers["x-agent-api-key"] == "f" * 64


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, 'refused: registration: 401 {"title": "Not now"}'),
        (403, 'refused: registration: 403 {"title": "Not now"}'),
        (500, 'no connection: registration: 500 {"title": "Not now"}'),
    ],
)
async def test_a_failed_registration_is_logged_and_tried_again(state: Path, status: int, message: str) -> None:
    """Neither a wrong key nor a service in trouble ends the agent."""
    async with harness_of(state) as harness:
        harness.service.registration = (status, {"title": "Not now"})
        await harness.agent.start()
        assert await harness.until(lambda: len(harness.service.called("register")) > 1, SECONDS)

        harness.service.registration = harness.service.approved
        await harness.connected(None, after=0, seconds=SECONDS)

        assert message in (harness.folder / "conformance.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_exit_code_0_and_leaves_its_sessions(state: Path, number: signal.Signals) -> None:
    """The sessions belong to their users."""
    async with harness_of(state) as harness:
        await harness.start_and_connect()
        assert await harness.execute(command("cmd-1", "start_session", START)) is None

        [agent] = [each for each in psutil.Process().children() if str(state) in each.cmdline()]
        os.kill(agent.pid, number)
        await harness.until(lambda: harness.agent.exit_code is not None, SECONDS)

        assert harness.agent.exit_code == 0
        assert is_alive(pid_of(state))


def test_the_pauses_double_up_to_the_longest_and_begin_again_after_a_long_connection() -> None:
    """Each pause is random, so that many agents do not reconnect together."""
    pauses = [[backoff.after(0) for _ in range(8)] for backoff in (Backoff(32) for _ in range(300))]
    longest = [max(column) for column in zip(*pauses, strict=True)]
    patient = Backoff(32)
    for _ in range(6):
        patient.after(0)

    for bound, pause in zip([1, 2, 4, 8, 16, 32, 32, 32], longest, strict=True):
        assert bound * 0.9 < pause <= bound
    assert patient.after(60) <= 1
