"""Agents made with the SDK, as processes against a running dispatcher."""

import contextlib
import itertools
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from local.http_client import Client
from tests.e2e.dispatcher_process import Dispatcher, until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests/integration/clients/agent/troubled_agent.py"
SECONDS = 60.0
POINTS = [
    "before accept",
    "after accept",
    "before begin",
    "in the handler",
    "before end",
    "after end",
    "before confirm",
    "after confirm",
]


class Running:
    """One agent, started again as often as a test likes."""

    def __init__(self, folder: Path, url: str, agent_id: str, *, point: str = "", **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._point = folder, point
        self._environment = {"DISPATCHER_URL": url, "AGENT_ID": agent_id, **environment}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start its process."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(self.folder), self._point],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "clients/python/src"), **self._environment},
                stdout=log,
                stderr=log,
            )

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text()

    def runs(self) -> Counter[str]:
        """Return how often the handler of each command ran."""
        path = self.folder / "runs"
        return Counter(path.read_text().split() if path.exists() else [])

    def end(self) -> None:
        """End its process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def ended(*agents: Running) -> Generator[None]:
    """End the agents after the test."""
    try:
        yield
    finally:
        for agent in agents:
            agent.end()


def status_of(client: Client, command_id: str) -> str:
    """Read a command's status."""
    return str(client.get(f"/api/v1/commands/{command_id}")["status"])


def test_an_agent_that_is_killed_between_any_two_steps_runs_no_command_twice(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """SIGKILL before and after each commit and in the handler; only what was half run is interrupted, or resumed."""
    agents: dict[tuple[str, str], tuple[Running, str]] = {}
    for number, point in enumerate(POINTS):
        for action in ["work", *(["repeat"] if point in {"in the handler", "before end"} else [])]:
            agent_id = f"killed-{number}-{action}"
            key = client.post("/api/v1/agents", {"agentId": agent_id, "platform": "linux"})["apiKey"]
            agent = Running(tmp_path / agent_id, dispatcher.url, agent_id, point=point, AGENT_API_KEY=key)
            command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": action})["commandId"]
            agents[point, action] = agent, command_id

    with ended(*(agent for agent, _ in agents.values())):
        for agent, _ in agents.values():
            agent.start()
        until(lambda: not any(agent.is_running for agent, _ in agents.values()), SECONDS)
        killed = {key: agent.process and agent.process.returncode for key, (agent, _) in agents.items()}
        for agent, _ in agents.values():
            agent.start()
        open_statuses = {"pending", "sent", "acknowledged"}
        until(lambda: not any(status_of(client, command) in open_statuses for _, command in agents.values()), SECONDS)
        found = {key: (agent.runs()[command], status_of(client, command)) for key, (agent, command) in agents.items()}

    assert killed == dict.fromkeys(agents, -signal.SIGKILL)
    assert found == {
        ("before accept", "work"): (1, "completed"),
        ("after accept", "work"): (1, "completed"),
        ("before begin", "work"): (1, "completed"),
        ("in the handler", "work"): (1, "failed"),
        ("in the handler", "repeat"): (2, "completed"),
        ("before end", "work"): (1, "failed"),
        ("before end", "repeat"): (2, "completed"),
        ("after end", "work"): (1, "completed"),
        ("before confirm", "work"): (1, "completed"),
        ("after confirm", "work"): (1, "completed"),
    }


def test_an_agent_enrols_keeps_its_key_and_changes_it_without_a_restart(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """The key is in a file that only its user can read; SIGHUP opens a connection with the key that is there now."""
    body = {"agentId": "enrolled", "approved": True}
    token = client.post("/api/v1/enrolment-tokens", body)["token"]
    agent = Running(tmp_path / "agent", dispatcher.url, "enrolled", AGENT_ENROLMENT_TOKEN=token)
    key_file = tmp_path / "agent" / "agent.db.key"
    with ended(agent):
        agent.start()
        until(lambda: "Connected" in agent.log, SECONDS)
        mode = stat.S_IMODE(key_file.stat().st_mode)
        agent.end()
        agent.start()
        until(lambda: agent.log.count("Connected") > 1, SECONDS)

        [first] = client.get("/api/v1/agents/enrolled/keys")["keys"]
        key_file.write_text(client.post("/api/v1/agents/enrolled/keys", {})["apiKey"])
        assert agent.process is not None
        agent.process.send_signal(signal.SIGHUP)
        until(lambda: agent.log.count("Connected") > 2, SECONDS)
        client.delete(f"/api/v1/agents/enrolled/keys/{first['keyId']}")
        command_id = client.post("/api/v1/agents/enrolled/commands", {"action": "work"})["commandId"]
        until(lambda: status_of(client, command_id) == "completed", SECONDS)
        until(lambda: "Moved to a new connection" in agent.log, SECONDS)

    assert mode == 0o600
    assert "Disconnected" not in agent.log


class Cable:
    """A cable between an agent and the dispatcher, which a test can cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

    def cut(self) -> None:
        """Cut everything that is connected now."""
        while self._sockets:
            with contextlib.suppress(OSError):
                self._sockets.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody connect any more."""
        self._listener.close()
        self.cut()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    source.close()


def test_a_cut_while_commands_run_loses_no_result_and_repeats_nothing(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """The agent is cut off, and moves to a new connection, again and again while it works through a queue."""
    key = client.post("/api/v1/agents", {"agentId": "cut-off", "platform": "linux"})["apiKey"]
    cable = Cable(dispatcher.url)
    agent = Running(tmp_path / "agent", cable.url, "cut-off", AGENT_API_KEY=key)
    body = {"action": "wait", "payload": {"seconds": 0.05}}
    commands = [client.post("/api/v1/agents/cut-off/commands", body)["commandId"] for _ in range(30)]
    with contextlib.closing(cable), ended(agent):
        agent.start()
        for done in (3, 10, 20):
            until(lambda: len(agent.runs()) >= done, SECONDS)  # noqa: B023 - it is called at once
            cable.cut()
            until(lambda: len(agent.runs()) >= done + 3, SECONDS)  # noqa: B023 - it is called at once
            assert agent.process is not None
            agent.process.send_signal(signal.SIGHUP)  # a move to a new connection
        until(lambda: status_of(client, commands[-1]) == "completed", SECONDS)
        statuses = Counter(status_of(client, command_id) for command_id in commands)

    assert statuses == {"completed": 30}
    assert agent.runs() == dict.fromkeys(commands, 1)
    assert agent.log.count("Disconnected") >= 3


def test_two_copies_of_an_agent_lose_no_command_and_say_what_is_wrong(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """A copied machine has the identity of the first one; each takes the connection from the other, and both work.

    A command runs on both only if it was delivered to both.
    """
    key = client.post("/api/v1/agents", {"agentId": "copied", "platform": "linux"})["apiKey"]
    own = {
        "AGENT_API_KEY": key,
        "LONGEST_PAUSE": "4",
    }  # seconds: each has its turn for long enough, on a busy machine, too
    copies = [Running(tmp_path / name, dispatcher.url, "copied", **own) for name in ("first", "second")]
    body = {"action": "wait", "payload": {"seconds": 0.05}}
    commands: list[str] = []
    with ended(*copies):
        for copy in copies:
            copy.start()
        for turn in (1, 2):
            commands += [client.post("/api/v1/agents/copied/commands", body)["commandId"] for _ in range(4)]
            until(
                lambda: min(copy.log.count("another copy of this agent") for copy in copies) >= turn,  # noqa: B023 - it is called at once
                2 * SECONDS,
            )
        until(lambda: {status_of(client, command_id) for command_id in commands} == {"completed"}, 2 * SECONDS)
        attempts = {command_id: client.get(f"/api/v1/commands/{command_id}")["attempt"] for command_id in commands}

    first, second = (copy.runs() for copy in copies)
    assert set((first | second).values()) == {1}
    assert {command_id: count for command_id, count in (first + second).items() if count > attempts[command_id]} == {}
    assert (first + second).keys() == set(commands)


def test_moves_to_new_connections_deliver_nothing_twice_and_hold_nothing_up(
    dispatcher: Dispatcher, client: Client, tmp_path: Path
) -> None:
    """Commands of three sessions are on their way at each move, and one runs all the time."""
    key = client.post("/api/v1/agents", {"agentId": "mover", "platform": "linux"})["apiKey"]
    agent = Running(tmp_path / "agent", dispatcher.url, "mover", AGENT_API_KEY=key)
    moves, moved = 20, threading.Event()

    def send() -> None:
        operator, sessions = dispatcher.client(), itertools.cycle("abc")
        while not moved.is_set():
            body = {"action": "wait", "sessionId": next(sessions), "payload": {"seconds": 0.02}}
            operator.post("/api/v1/agents/mover/commands", body)
            time.sleep(random.uniform(0, 0.05))  # noqa: S311 - moves meet commands at every point of their way

    with contextlib.ExitStack() as stack:
        stack.enter_context(ended(agent))
        agent.start()
        until(lambda: "Connected" in agent.log, SECONDS)
        body = {"action": "wait", "sessionId": "long", "payload": {"seconds": 4}}
        client.post("/api/v1/agents/mover/commands", body)
        sender = threading.Thread(target=send)
        sender.start()
        stack.callback(moved.set)
        for number in range(1, moves + 1):
            assert agent.process is not None
            agent.process.send_signal(signal.SIGHUP)
            until(lambda: agent.log.count("Connected") > number, SECONDS)  # noqa: B023 - it is called at once
            until(lambda: len(agent.runs()) > 2 * number, SECONDS)  # noqa: B023 - it is called at once
        moved.set()
        sender.join()
        until(lambda: not client.get("/api/v1/commands?agentId=mover&status=pending,sent,acknowledged")["commands"])
        with dispatcher.database() as conn:
            rows = conn.execute(
                """
                select status, attempt, acknowledged_at - created_at < interval '5 seconds', count(*)
                from agent_commands
                where agent_id = 'mover'
                group by 1, 2, 3
                """
            ).fetchall()

    [(status, attempt, in_time, count)] = rows
    assert (status, attempt, in_time) == ("completed", 1, True)
    assert count > 2 * moves
    assert set(agent.runs().values()) == {1}
    assert "Disconnected" not in agent.log


def test_a_cancelled_command_is_stopped_by_its_agent(dispatcher: Dispatcher, client: Client, tmp_path: Path) -> None:
    """The operator reads that the agent stopped it."""
    key = client.post("/api/v1/agents", {"agentId": "obedient", "platform": "linux"})["apiKey"]
    agent = Running(tmp_path / "agent", dispatcher.url, "obedient", AGENT_API_KEY=key)
    with ended(agent):
        agent.start()
        body = {"action": "wait", "payload": {"seconds": 600}}
        command_id = client.post("/api/v1/agents/obedient/commands", body)["commandId"]
        until(agent.runs, SECONDS)
        client.post(f"/api/v1/commands/{command_id}/cancel", {})
        until(lambda: status_of(client, command_id) == "cancelled", SECONDS)
        cause = client.get(f"/api/v1/commands/{command_id}/history")["history"][-1]["cause"]

    assert cause == "cancelled by its agent"
