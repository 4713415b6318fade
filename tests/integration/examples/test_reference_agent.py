"""The demonstration agent: a process of its own, with real sessions, against a server of the test's own."""

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, Self, cast

import pytest
import uvicorn

from examples.reference_agent.link import Backoff

ROOT = Path(__file__).parents[3]
SECONDS = 8.0
"""How long a test waits for what must come."""


class FakeDispatcher:
    """The two paths that an agent knows; keeps what it says, and says what the test wants."""

    def __init__(self) -> None:
        self.registrations: queue.Queue[tuple[dict[str, str], dict[str, Any]]] = queue.Queue()
        self.handshakes: queue.Queue[dict[str, str]] = queue.Queue()
        self.frames: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self._out: asyncio.Queue[str | None] = asyncio.Queue()
        self._started = threading.Event()
        config = uvicorn.Config(
            cast("Any", self._app), ws="websockets-sansio", log_config=None, lifespan="off", interface="asgi3"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self.drop()
        self._thread.join()

    def send(self, **frame: object) -> None:
        """Send a frame to the agent."""
        self._loop.call_soon_threadsafe(self._out.put_nowait, json.dumps(frame))

    def command(self, command_id: str, action: str, **payload: object) -> None:
        """Send a command as the dispatcher does."""
        self.send(type="command", payload={"commandId": command_id, "action": action, "payload": payload})

    def drop(self) -> None:
        """Close the connection."""
        self._loop.call_soon_threadsafe(self._out.put_nowait, None)

    def heard(self, kind: str) -> dict[str, Any]:
        """Return the next frame, which must be of this type."""
        frame = self.frames.get(timeout=SECONDS)
        assert frame["type"] == kind
        return frame

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._started.set()  # who connects from now on waits in the listener's queue
            await self._server.serve(sockets=[listener])

    async def _app(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        if scope["type"] == "http":
            assert (scope["method"], scope["path"]) == ("POST", "/api/v1/agents/register")
            self.registrations.put((headers, json.loads((await receive())["body"])))
            status, body = self.answers.pop(0) if self.answers else (200, {"agentId": "a", "status": "online"})
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": json.dumps(body).encode()})
            return
        assert (scope["path"], scope["query_string"]) == ("/api/v1/agents/connect", b"agent_id=agent%2F1")
        await receive()
        await send({"type": "websocket.accept"})
        self.handshakes.put(headers)
        pump = asyncio.create_task(self._pump(send))
        while (message := await receive())["type"] == "websocket.receive":
            self.frames.put(json.loads(message["text"]))
        pump.cancel()

    async def _pump(self, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        while (text := await self._out.get()) is not None:
            await send({"type": "websocket.send", "text": text})
        await send({"type": "websocket.close", "code": 1001})


@pytest.fixture
def dispatcher() -> Generator[FakeDispatcher, None, None]:
    """Run a server for one agent."""
    with FakeDispatcher() as running:
        yield running


@pytest.fixture
def state(tmp_path: Path) -> Generator[Path, None, None]:
    """Make a folder for the sessions' records, and end what is still in it."""
    folder = tmp_path / "state"
    yield folder
    for record in folder.glob("*.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid_in(record), signal.SIGKILL)


@contextlib.contextmanager
def agent(
    dispatcher: FakeDispatcher, state: Path, *options: str, connected: bool = True
) -> Generator[subprocess.Popen[str], None, None]:
    """Run an agent, by default until it is connected at least."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "examples.reference_agent", "--url", f"{dispatcher.url}/", "--id", "agent/1"),
            *("--state", str(state), "--backoff-max", "0.2", *options),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "AGENT_API_KEY": "k" * 64},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            if connected:
                dispatcher.handshakes.get(timeout=SECONDS)
            yield process
        finally:
            process.kill()


def pid_in(record: Path) -> int:
    """Return the process of a session's record."""
    return int(json.loads(record.read_text())["pid"])


def process_state(pid: int) -> str:
    """Return what a process does, once it is on no processor: "lives", "sleeps" as a hibernated one does, "gone"."""
    letter = "R"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while letter == "R":
            time.sleep(0.05)
            letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {"T": "sleeps", "Z": "gone"}.get(letter, "lives")
    return "gone"


def start(dispatcher: FakeDispatcher, state: Path, session_id: str = "sess-1") -> int:
    """Start a session and return its process."""
    dispatcher.command(f"start-{session_id}", "start_session", sessionId=session_id, template="firefox-browser")
    for kind in ("ack", "status", "complete"):
        dispatcher.heard(kind)
    return pid_in(state / f"{session_id}.json")


def test_it_registers_and_connects_as_the_k8s_agent_does(dispatcher: FakeDispatcher, state: Path) -> None:
    """The body and the headers are the ones on record; no origin, no subprotocol, no extension."""
    with agent(dispatcher, state, connected=False):
        headers, body = dispatcher.registrations.get(timeout=SECONDS)
        handshake = dispatcher.handshakes.get(timeout=SECONDS)

    assert (headers["content-type"], headers["x-agent-api-key"]) == ("application/json", "k" * 64)
    assert body == {
        "agentId": "agent/1",
        "platform": "kubernetes",
        "region": "us-east-1",
        "capacity": {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"},
        "metadata": {"kubernetes": True, "namespace": "streamspace"},
    }
    assert handshake["x-agent-api-key"] == "k" * 64
    assert not {"origin", "sec-websocket-protocol", "sec-websocket-extensions"} & handshake.keys()


def test_a_command_is_acknowledged_then_completed_and_its_session_is_a_process(
    dispatcher: FakeDispatcher, state: Path
) -> None:
    """In the order and the words of the k8s agent; `ps` shows the session by its id."""
    with agent(dispatcher, state):
        dispatcher.command("cmd-1", "start_session", sessionId="sess-1", template="firefox-browser")
        ack, status, complete = (dispatcher.heard(kind) for kind in ("ack", "status", "complete"))
        pid = pid_in(state / "sess-1.json")
        shown = Path(f"/proc/{pid}/cmdline").read_text().split("\0")

    assert ack["payload"] == {"commandId": "cmd-1"}
    assert ack["timestamp"].endswith("Z")
    place = {"podIP": "127.0.0.1", "podName": f"sess-1-{pid}"}
    assert status["payload"] == {
        "sessionId": "sess-1",
        "state": "running",
        "vncPort": 3000,
        "vncReady": True,
        "platformMetadata": place,
    }
    assert "timestamp" not in status
    assert complete["payload"] == {
        "commandId": "cmd-1",
        "result": {
            "sessionId": "sess-1",
            "state": "running",
            "vncPort": 3000,
            "deployment": "sess-1",
            "service": "sess-1",
            **place,
        },
    }
    assert "sess-1" in shown


def test_a_session_that_lives_is_not_started_again(dispatcher: FakeDispatcher, state: Path) -> None:
    """The second start fails, and the first one's process stays."""
    with agent(dispatcher, state):
        pid = start(dispatcher, state)
        dispatcher.command("cmd-2", "start_session", sessionId="sess-1", template="firefox-browser")
        dispatcher.heard("ack")
        failed = dispatcher.heard("failed")

    assert failed["payload"] == {"commandId": "cmd-2", "error": "session sess-1 already exists"}
    assert process_state(pid) == "lives"


def test_stopping_ends_the_process_and_succeeds_again_when_nothing_is_there(
    dispatcher: FakeDispatcher, state: Path
) -> None:
    """A stop means that the session is gone, not that this command ended it."""
    with agent(dispatcher, state):
        pid = start(dispatcher, state)
        results: list[object] = []
        for command_id in ("cmd-2", "cmd-3"):
            dispatcher.command(command_id, "stop_session", sessionId="sess-1")
            dispatcher.heard("ack")
            results.append(dispatcher.heard("complete")["payload"]["result"])

    assert results == [{"sessionId": "sess-1", "state": "terminated"}] * 2
    assert process_state(pid) == "gone"
    assert not list(state.iterdir())


def test_a_session_hibernates_wakes_and_can_be_stopped_asleep(dispatcher: FakeDispatcher, state: Path) -> None:
    """Its process stands still in between, with all that it has in memory."""
    with agent(dispatcher, state):
        pid = start(dispatcher, state)
        seen: list[tuple[str, str]] = []
        for action in ("hibernate_session", "wake_session", "hibernate_session", "stop_session"):
            dispatcher.command(f"cmd-{len(seen)}", action, sessionId="sess-1")
            dispatcher.heard("ack")
            result = dispatcher.heard("complete")["payload"]["result"]
            seen.append((result["state"], process_state(pid)))

    assert seen == [("hibernated", "sleeps"), ("running", "lives"), ("hibernated", "sleeps"), ("terminated", "gone")]


def test_a_session_that_is_not_there_can_not_be_woken(dispatcher: FakeDispatcher, state: Path) -> None:
    """The failure says so."""
    with agent(dispatcher, state):
        dispatcher.command("cmd-1", "wake_session", sessionId="sess-9")
        dispatcher.heard("ack")

        assert dispatcher.heard("failed")["payload"]["error"] == "session sess-9 does not exist"


def test_an_unknown_action_fails_and_the_next_command_is_executed(dispatcher: FakeDispatcher, state: Path) -> None:
    """In the k8s agent's words; messages that are no commands do no harm either."""
    with agent(dispatcher, state):
        for frame in ({"type": "command"}, {"type": "command", "payload": 7}, {"type": "novelty"}, {}):
            dispatcher.send(**frame)
        dispatcher.command("cmd-u", "reboot_session", sessionId="sess-1")
        dispatcher.heard("ack")
        failed = dispatcher.heard("failed")

        assert failed["payload"] == {"commandId": "cmd-u", "error": "unknown action: reboot_session"}
        start(dispatcher, state)


@pytest.mark.parametrize("session_id", ["../evil", "a/b", "", ".hidden", "-rf", "x" * 129, "a\0b", "a\n", 17, None])
@pytest.mark.parametrize("action", ["start_session", "stop_session"])
def test_a_session_id_that_is_no_file_name_fails(
    dispatcher: FakeDispatcher, state: Path, action: str, session_id: object
) -> None:
    """Ids come from outside: nothing is written, started or ended for such a one."""
    with agent(dispatcher, state):
        dispatcher.command("cmd-1", action, sessionId=session_id, template="firefox-browser")
        dispatcher.heard("ack")
        failed = dispatcher.heard("failed")

    assert "is not usable" in failed["payload"]["error"]
    assert not list(state.iterdir())
    assert list(state.parent.iterdir()) == [state]


def test_sessions_survive_a_killed_agent_and_are_stopped_by_the_next(dispatcher: FakeDispatcher, state: Path) -> None:
    """The scene of Integration Test 3.2: the agent dies, and the one that comes back ends its session."""
    with agent(dispatcher, state) as first:
        pid = start(dispatcher, state)
        first.kill()
        first.wait()
    survived = process_state(pid)

    with agent(dispatcher, state):
        dispatcher.command("cmd-2", "stop_session", sessionId="sess-1")
        dispatcher.heard("ack")
        result = dispatcher.heard("complete")["payload"]["result"]

    assert (survived, result["state"], process_state(pid)) == ("lives", "terminated", "gone")


def test_a_process_that_only_has_a_sessions_number_is_never_ended(dispatcher: FakeDispatcher, state: Path) -> None:
    """Numbers are used again; the time of birth tells the difference."""
    with agent(dispatcher, state), subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        record = json.dumps({"pid": innocent.pid, "born": "some other boot 123", "state": "running"})
        (state / "sess-1.json").write_text(record)
        dispatcher.command("cmd-1", "stop_session", sessionId="sess-1")
        dispatcher.heard("ack")
        dispatcher.heard("complete")
        unharmed = innocent.poll() is None
        innocent.kill()

    assert unharmed


def test_it_beats_with_the_number_of_its_sessions_and_answers_pings(dispatcher: FakeDispatcher, state: Path) -> None:
    """A heartbeat comes after the first period, not at once; a pong carries nothing but its time."""
    with agent(dispatcher, state, "--heartbeat", "1"):
        dispatcher.send(type="ping")
        pong = dispatcher.heard("pong")
        start(dispatcher, state)
        beat = dispatcher.heard("heartbeat")

    assert pong.keys() == {"type", "timestamp"}
    assert beat["payload"] == {
        "activeSessions": 1,
        "capacity": {"maxSessions": 100, "cpu": "64 cores", "memory": "256Gi"},
        "status": "online",
    }


def test_it_comes_back_after_every_end_of_a_connection_and_registers_again(
    dispatcher: FakeDispatcher, state: Path
) -> None:
    """As often as it takes."""
    with agent(dispatcher, state):
        for _ in range(4):
            dispatcher.drop()
            dispatcher.handshakes.get(timeout=SECONDS)

    assert dispatcher.registrations.qsize() == 5


def test_an_outcome_that_found_no_connection_is_sent_over_the_next(dispatcher: FakeDispatcher, state: Path) -> None:
    """A connection that ends between a command and its outcome loses no outcome; the ack may still go down with it."""
    with agent(dispatcher, state):
        dispatcher.command("cmd-1", "start_session", sessionId="sess-1", template="firefox-browser")
        dispatcher.drop()
        kinds: list[str] = []
        while "complete" not in kinds:
            kinds.append(dispatcher.frames.get(timeout=SECONDS)["type"])

    assert kinds in (["ack", "status", "complete"], ["status", "complete"])


def test_a_command_that_comes_twice_is_executed_once_and_answered_twice(
    dispatcher: FakeDispatcher, state: Path
) -> None:
    """Delivery is at least once; the second answer is the first again."""
    with agent(dispatcher, state):
        pid = start(dispatcher, state)
        dispatcher.command("start-sess-1", "start_session", sessionId="sess-1", template="firefox-browser")
        dispatcher.heard("ack")
        again = dispatcher.heard("complete")

    assert again["payload"]["result"]["podName"] == f"sess-1-{pid}"


def test_it_waits_for_approval_and_takes_the_key_that_it_is_given(dispatcher: FakeDispatcher, state: Path) -> None:
    """While an operator has not approved it, it asks again and again, and does not connect."""
    pending = (202, {"agentId": "agent/1", "approvalStatus": "pending"})
    dispatcher.answers = [pending, pending, (200, {"agentId": "agent/1", "apiKey": "f" * 64})]

    with agent(dispatcher, state, "--poll", "0.1", connected=False):
        handshake = dispatcher.handshakes.get(timeout=SECONDS)

    assert dispatcher.registrations.qsize() == 3
    assert handshake["x-agent-api-key"] == "f" * 64


def test_a_refusal_is_explained_and_tried_again(dispatcher: FakeDispatcher, state: Path) -> None:
    """Neither a wrong key nor a server in trouble ends it."""
    dispatcher.answers = [(401, {"title": "Unknown key"}), (403, {}), (500, {})]

    with agent(dispatcher, state) as process:
        process.terminate()
        said, _ = process.communicate(timeout=SECONDS)

    assert 'refused: registration: 401 {"title": "Unknown key"}' in said
    assert "no connection: registration: 500" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_leaves_the_sessions(
    dispatcher: FakeDispatcher, state: Path, number: signal.Signals
) -> None:
    """Exit code 0, soon, with the session's process alive."""
    with agent(dispatcher, state) as process:
        pid = start(dispatcher, state)
        began = time.monotonic()
        process.send_signal(number)
        code = process.wait(timeout=SECONDS)

    assert (code, process_state(pid)) == (0, "lives")
    assert time.monotonic() - began < 3


def test_the_waits_double_up_to_the_longest_and_begin_anew_after_a_good_while() -> None:
    """Each wait is drawn from the whole span, so that many agents spread."""
    waits = [[backoff.after(0) for _ in range(8)] for backoff in (Backoff(32) for _ in range(300))]
    spans = [max(column) for column in zip(*waits, strict=True)]
    bounds = [1, 2, 4, 8, 16, 32, 32, 32]
    patient = Backoff(32)
    for _ in range(6):
        patient.after(0)

    assert all(bound * 0.9 < span <= bound for span, bound in zip(spans, bounds, strict=True))
    assert patient.after(60) <= 1
