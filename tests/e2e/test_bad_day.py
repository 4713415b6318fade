"""`make up` on a bad day of its machine: PostgreSQL is stopped or killed, the disk is full."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import urllib3

from local.http_client import Client, Refused
from tests.e2e.dispatcher_process import PASSWORD, PATIENCE, Dispatcher, until, up

SERVICE_UNAVAILABLE = 503


def postmaster(run: Dispatcher) -> psutil.Process:
    """Return PostgreSQL's first process."""
    return psutil.Process(int((run.home / "postgres" / "postmaster.pid").read_text().partition("\n")[0]))


def accepts(client: Client) -> bool:
    """Tell whether a command is accepted."""
    try:
        client.post("/api/v1/agents/offline/commands", {"action": "upgrade"})
    except Refused as error:
        if error.status != SERVICE_UNAVAILABLE:
            raise
        return False
    return True


@pytest.fixture
def run(home: Path) -> Iterator[Dispatcher]:
    """A dispatcher with one agent."""
    with up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD) as running:
        running.client().post("/api/v1/agents", {"agentId": "offline", "platform": "kubernetes"})
        yield running


def test_a_stopped_and_continued_postgresql_ends_nothing(run: Dispatcher) -> None:
    """Its parent gets a SIGCHLD for both, and for any other signal of that number."""
    client, server = run.client(), postmaster(run)
    guard = server.parent()
    assert guard is not None
    for _ in range(2):
        server.suspend()
        guard.send_signal(signal.SIGCHLD)
        run.process.send_signal(signal.SIGCHLD)
        time.sleep(1)  # longer than both look again
        server.resume()

    until(lambda: accepts(client))
    assert run.process.poll() is None
    assert postmaster(run) == server
    assert "PostgreSQL has ended" not in run.output


@pytest.mark.parametrize("victim", ["server", "guard"])
def test_a_killed_postgresql_is_started_again(run: Dispatcher, victim: str) -> None:
    """On the same port, with all that was accepted; callers get 503 meanwhile."""
    client, server = run.client(), postmaster(run)
    accepts(client)
    guard = server.parent()
    assert guard is not None

    (server if victim == "server" else guard).kill()
    until(lambda: "PostgreSQL serves again" in run.output)
    until(lambda: accepts(client))

    with run.database() as conn:
        assert conn.execute("select count(*) >= 2 from agent_commands").fetchall() == [(True,)]
    assert run.stop() == 0


def test_a_postgresql_that_ends_again_and_again_ends_the_service(run: Dispatcher) -> None:
    """With an exit code and a reason."""
    killed: set[int] = set()

    def kill() -> bool:
        try:
            server = postmaster(run)
            if server.pid not in killed and "ready" in (run.home / "postgres" / "postmaster.pid").read_text():
                server.kill()
                killed.add(server.pid)
        except (OSError, ValueError, psutil.Error):
            pass  # it is being started
        return run.process.poll() is not None

    until(kill, 60)

    assert run.process.poll() == 1
    assert "Stopped: PostgreSQL has ended, 4 times within a minute.\nNext: see " in run.errors
    assert len(killed) == 4


def fill(folder: Path) -> None:
    """Write until the disk of this folder is full."""
    with (folder / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"\0" * 4096)


def connects(run: Dispatcher) -> bool:
    """Tell whether PostgreSQL takes connections."""
    with contextlib.suppress(psycopg.Error):
        psycopg.connect(run.database_url).close()
        return True
    return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user cannot mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_does_not_end_the_service(small_disk: Path) -> None:
    """Writes are refused while it is full; afterwards everything goes on, with all that was accepted."""
    with up(small_disk / "home", DISPATCHER_ADMIN_PASSWORD=PASSWORD, DISPATCHER_SWEEP_SECONDS="0.5") as run:
        client = run.client()
        client.post("/api/v1/agents", {"agentId": "offline", "platform": "kubernetes"})
        assert accepts(client)
        fill(small_disk)
        with psycopg.connect(run.database_url) as conn, pytest.raises(psycopg.Error):  # more log than its files have
            conn.execute("create table big as select repeat('x', 5000) from generate_series(1, 30000)")
        until(lambda: "The disk is full" in run.output or connects(run))
        if "The disk is full" not in run.output:  # PostgreSQL has recovered by itself
            run.process.send_signal(signal.SIGSTOP)  # it shall see the end only when the disk is full again
            server = postmaster(run)
            processes = [server, *server.children(recursive=True)]
            server.kill()
            psutil.wait_procs(processes, timeout=PATIENCE)
            fill(small_disk)  # what was deleted made room when the last process had closed it
            run.process.send_signal(signal.SIGCONT)
        until(lambda: "The disk is full" in run.output)
        assert run.process.poll() is None
        assert not accepts(client)

        (small_disk / "filler").unlink()
        until(lambda: "PostgreSQL serves again" in run.output)
        until(lambda: accepts(client))

        assert run.stop() == 0
    assert run.errors == ""


def test_the_functions_own_nothing(run: Dispatcher) -> None:
    """They read and write rows, each of them with its own role; `migrate` and the operator's psql own the tables."""
    password = (run.home / "functions.password").read_text().strip()
    url = run.database_url.partition("?")[0].partition("@")[2]
    accepts(run.client())

    with psycopg.connect(f"postgresql://dispatcher_functions:{password}@{url}", autocommit=True) as conn:
        assert conn.execute("select count(*) from agent_commands").fetchall() == [(1,)]
        assert conn.execute("show statement_timeout").fetchall() == [("30s",)]
        for forbidden in (
            "truncate audit_log",
            "drop table agents",
            "create table mine (id int)",
            "delete from audit_log",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(forbidden)
    sessions = (
        "select distinct usename from pg_stat_activity"
        " where backend_type = 'client backend' and pid <> pg_backend_pid()"
    )
    with run.database() as conn:
        until(lambda: conn.execute(sessions).fetchall() == [("dispatcher_functions",)])
    assert (run.home / "functions.password").stat().st_mode & 0o777 == 0o600


def test_the_home_of_an_earlier_version_gets_the_functions_role(run: Dispatcher) -> None:
    """Its functions logged in as the owner of the tables."""
    run.stop()
    (run.home / "functions.password").unlink()
    run.home.chmod(0o755)

    run.start()

    assert accepts(run.client())
    assert run.home.stat().st_mode & 0o777 == 0o700
    assert run.stop() == 0


def test_no_other_process_can_invoke_functions(run: Dispatcher) -> None:
    """It would become an admin, or speak to agents in the service's name."""
    event = {"version": "2.0", "routeKey": "POST /api/v1/operators", "rawPath": "/api/v1/operators"}
    answers = [
        urllib3.request(
            "POST", run.url + path, json=event, headers={"Authorization": "AWS4-HMAC-SHA256 nothing"}, timeout=PATIENCE
        )
        for path in ("/2015-03-31/functions/OperatorsFunction/invocations", "/@connections/any", "/sqs")
    ]

    assert [answer.status for answer in answers] == [403, 403, 403]
    assert "OperatorsFunction" not in "".join(answer.data.decode() for answer in answers)


def test_a_name_from_outside_is_served_if_it_was_given(home: Path) -> None:
    """DISPATCHER_HOSTS; any other name is refused."""
    with up(home, DISPATCHER_HOSTS="dispatcher.example, other.example") as run:
        statuses = {
            name: urllib3.request("GET", f"{run.url}/healthz", headers={"Host": name}, timeout=PATIENCE).status
            for name in ("other.example", "evil.example")
        }

    assert statuses == {"other.example": 200, "evil.example": 421}
