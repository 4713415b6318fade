"""The reference agent's sessions are real processes, found again by their locked pid files."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.reference_agent.session_processes import SessionError, Sessions

START = {"sessionId": "sess-1", "template": "firefox-browser"}


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    """Sessions in a folder of the test, which end after it."""
    folder = Sessions(tmp_path / "state")
    yield folder
    for session_id in folder.active():
        folder.stop(session_id)


def status_of(pid: int) -> str:
    """Return the state of a process, once it does not run: sleeping, stopped, or gone."""
    try:
        while (status := psutil.Process(pid).status()) == psutil.STATUS_RUNNING:
            pass
    except psutil.NoSuchProcess:
        return "gone"
    return "gone" if status == psutil.STATUS_ZOMBIE else str(status)


def test_a_started_session_is_a_process_with_the_session_id_in_its_command(sessions: Sessions) -> None:
    """So that an operator finds it with ps."""
    pid = sessions.start("sess-1")

    while not (arguments := psutil.Process(pid).cmdline()):
        pass  # it exists, and has not yet become its program
    assert "sess-1" in arguments
    assert sessions.active() == ["sess-1"]


def test_a_running_session_is_not_started_again(sessions: Sessions, tmp_path: Path) -> None:
    """Neither by the agent that started it nor by the next one."""
    pid = sessions.start("sess-1")

    for each in (sessions, Sessions(tmp_path / "state")):
        with pytest.raises(SessionError, match="session sess-1 already exists"):
            each.execute("start_session", START)
    assert status_of(pid) == "sleeping"


def test_a_stop_ends_the_process_and_succeeds_again(sessions: Sessions, tmp_path: Path) -> None:
    """A stopped session leaves no file."""
    pid = sessions.start("sess-1")

    results = [sessions.execute("stop_session", START) for _ in range(2)]

    assert results == [{"sessionId": "sess-1", "state": "terminated"}] * 2
    assert status_of(pid) == "gone"
    assert list((tmp_path / "state").iterdir()) == []


def test_a_session_hibernates_wakes_and_is_stopped_while_it_hibernates(sessions: Sessions) -> None:
    """Its process is stopped in between, and keeps its memory."""
    pid = sessions.start("sess-1")

    seen: list[tuple[str, str]] = []
    for action in ("hibernate_session", "wake_session", "hibernate_session", "stop_session"):
        result = sessions.execute(action, START)
        seen.append((result["state"], status_of(pid)))

    hibernated = ("hibernated", "stopped")
    assert seen == [hibernated, ("running", "sleeping"), hibernated, ("terminated", "gone")]


def test_an_unknown_session_is_not_woken(sessions: Sessions) -> None:
    """The error names the session."""
    with pytest.raises(SessionError, match="session sess-9 does not exist"):
        sessions.execute("wake_session", {"sessionId": "sess-9"})


@pytest.mark.parametrize("session_id", ["../evil", "a/b", "", ".hidden", "-rf", "x" * 129, "a\0b", "a\n", 17, None])
@pytest.mark.parametrize("action", ["start_session", "stop_session"])
def test_a_session_id_that_is_not_a_safe_file_name_fails(
    sessions: Sessions, tmp_path: Path, action: str, session_id: Any
) -> None:
    """Ids come from outside: nothing is written, started or ended."""
    with pytest.raises(SessionError, match="is not usable"):
        sessions.execute(action, {**START, "sessionId": session_id})

    assert [path.name for path in tmp_path.rglob("*")] == ["state"]


def test_the_next_agent_stops_the_session_of_a_dead_one(sessions: Sessions, tmp_path: Path) -> None:
    """The pid file is enough."""
    pid = sessions.start("sess-1")

    Sessions(tmp_path / "state").stop("sess-1")

    assert status_of(pid) == "gone"


def test_a_process_that_only_has_the_number_of_a_session_is_not_ended(sessions: Sessions, tmp_path: Path) -> None:
    """Process ids are reused; the lock shows whether the session still runs."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        (tmp_path / "state" / "sess-1.pid").write_text(str(other.pid))

        sessions.stop("sess-1")

        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("action", "message"),
    [("start_session", "template is required"), ("reboot_session", "unknown action: reboot_session")],
)
def test_a_command_that_cannot_be_executed_says_why(sessions: Sessions, action: str, message: str) -> None:
    """With the words of the protocol."""
    with pytest.raises(SessionError, match=message):
        sessions.execute(action, {"sessionId": "sess-1"})
