"""The state file: real SQLite, its lock, and a disk that is full."""

import json
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from command_dispatcher import Agent, testing
from command_dispatcher.agent import AgentError, Command
from command_dispatcher.agent.messages import Delivery
from command_dispatcher.agent.storage import SqliteStorage
from command_dispatcher.agent.writes import Accept, Attempt, Begin, Confirm, End, Forget, Outcome, StoredCommand

DELIVERY = Delivery(
    command_id="cmd-1", attempt=1, action="work", payload=json.dumps({"a": [1, "é\ud800"]}), session_id="s"
)
RETRY = Outcome(kind="failed", body='"busy"', retryable=True, retry_after=5.0)


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The state file of the agent."""
    return tmp_path / "state" / "agent.db"


@pytest.fixture
def storage(path: Path) -> Iterator[SqliteStorage]:
    """An open state file."""
    opened = SqliteStorage(path, "edge-1")
    yield opened
    opened.close()


def test_what_is_committed_is_there_after_a_restart(storage: SqliteStorage, path: Path) -> None:
    """Each step of a command's life, as both storages keep it."""
    memory = testing.MemoryStorage()
    later = Delivery(command_id="cmd-2", attempt=4, action="null")
    steps: list[list[Any]] = [
        [Accept(delivery=DELIVERY), Accept(delivery=later)],
        [Begin(command_id="cmd-1"), Attempt(command_id="cmd-1", attempt=2)],
        [End(delivery=DELIVERY.with_attempt(2), outcome=RETRY)],
        [Confirm(command_ids=("cmd-1",))],
        [Accept(delivery=DELIVERY.with_attempt(3))],
        [End(delivery=DELIVERY.with_attempt(3), outcome=Outcome(kind="complete", body="null"))],
        [Confirm(command_ids=("cmd-1",)), Forget(command_ids=("cmd-1",))],
    ]
    for writes in steps:
        storage.commit(writes)
        memory.commit(writes)
        storage.close()
        storage.__init__(path, "edge-1")  # type: ignore[misc]

        assert storage.load() == memory.load()

    assert storage.load() == [StoredCommand(delivery=later, state="accepted")]


def test_the_state_file_is_durable_and_only_for_its_user(storage: SqliteStorage, path: Path) -> None:
    """An acknowledged command must survive a loss of power."""
    pragmas = [storage.connection.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]

    assert pragmas == ["wal", 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_agent_on_one_state_file_is_refused(storage: SqliteStorage, path: Path) -> None:
    """Also one in the same process, which a POSIX lock would let in."""
    del storage

    with pytest.raises(AgentError, match=r"is in use by another agent \(process \d+\)\. An agent runs once"):
        SqliteStorage(path, "edge-1")


def test_a_state_file_belongs_to_one_agent(storage: SqliteStorage, path: Path) -> None:
    """Another agent must not report the results of this one."""
    storage.close()

    with pytest.raises(AgentError, match="belongs to the agent 'edge-1', and this one is 'edge-2'"):
        SqliteStorage(path, "edge-2")
    storage.__init__(path, "edge-1")  # type: ignore[misc]


def test_a_file_that_is_no_state_file_is_refused(path: Path) -> None:
    """It is not overwritten."""
    path.parent.mkdir()
    path.write_text("something else entirely, and long enough to be no database")

    with pytest.raises(AgentError, match="cannot be used: file is not a database"):
        SqliteStorage(path, "edge-1")

    assert path.read_text().startswith("something else")


@pytest.mark.anyio
async def test_with_a_full_disk_nothing_is_acknowledged_and_nothing_is_lost(
    storage: SqliteStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite itself says that it is full, in the middle of a transaction."""
    agent = Agent()
    runs: list[str] = []

    @agent.on("work")
    async def work(command: Command) -> str:
        runs.append(command.id)
        return "done"

    async with testing.Service(agent, storage=storage) as service:
        first = service.deliver("work")
        await service.settle()
        _limit(storage.connection, 0)
        second = service.deliver("work", {"large": "x" * 100_000})
        await service.advance(200)
        full = (second.status, list(second.reports), service.is_connected)
        _limit(storage.connection, 100_000)
        await service.advance(200)

    assert first.status == "completed"
    assert full == ("sent", [], False)
    assert "The state file cannot be written (database or disk is full)" in caplog.text
    assert (second.status, runs) == ("completed", [first.id, second.id])
    del work


def _limit(connection: sqlite3.Connection, pages: int) -> None:
    """Let the database grow by this many pages, and no more."""
    (used,) = connection.execute("pragma page_count").fetchone()
    connection.execute(f"pragma max_page_count = {used + pages}")
