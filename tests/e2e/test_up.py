"""`make up`: the whole program, as it is started, ended and killed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import urllib3

from local.http_client import Refused
from local.postgres.server import find_binaries
from tests.e2e.dispatcher_process import PATIENCE, ROOT, Dispatcher, launched, until, up

MAKE = ("make", "-o", ".venv/.local", "up")
"""The command that a person calls, but without an installation."""
with_make = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/python").exists(), reason="no make, or no .venv for it"
)


def serves(dispatcher: Dispatcher) -> bool:
    """Tell whether /healthz is answered with 200."""
    return urllib3.request("GET", f"{dispatcher.url}/healthz", timeout=PATIENCE, retries=False).status == 200


def test_it_serves_and_ends_cleanly_on_sigterm(home: Path) -> None:
    """The file `env` exists as long as it serves, for its owner only; the exit code is 0."""
    with up(home) as run:
        mode = (run.home / "env").stat().st_mode & 0o777
        url, database_url = run.url, run.database_url
        assert serves(run)
        with run.database() as conn:
            assert conn.execute("select count(*) from agent_commands").fetchall() == [(0,)]
        code = run.stop()

        assert run.processes() == []

    assert code == 0
    assert mode == 0o600
    assert run.errors == ""
    assert not (run.home / "env").exists()
    assert f"URL            {url}\n" in run.output
    assert f"psql '{database_url}'\n" in run.output


def test_the_password_is_generated_once_and_can_be_set(home: Path) -> None:
    """The first screen shows the generated one; DISPATCHER_ADMIN_PASSWORD replaces it, also for later runs."""
    with up(home) as run:
        generated = (run.home / "admin.password").read_text().strip()
        run.client(generated)
        run.stop()
        assert f"Password       {generated}\n" in run.output
    with up(home, DISPATCHER_ADMIN_PASSWORD="chosen by a person") as run:
        run.client("chosen by a person")
        with pytest.raises(Refused, match="401"):
            run.client(generated)
        run.stop()
        assert "chosen" not in run.output
    with up(home) as run:
        run.client("chosen by a person")


def test_it_survives_kill_9_and_keeps_port_and_data(home: Path) -> None:
    """The next start works at once, and no process of the killed run is left."""
    with up(home) as run:
        before = run.environment
        with run.database() as conn:
            conn.execute("create table kept as select 7 as number")
        run.kill()
        run.start()

        assert run.environment == before
        assert serves(run)
        with run.database() as conn:
            assert conn.execute("select number from kept").fetchall() == [(7,)]
        run.kill()
        until(lambda: run.processes() == [])


def test_a_taken_port_is_reported_before_anything_is_started(home: Path) -> None:
    """The error names the process that listens there and what to do next; no database is created."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with launched(home, port=str(port)) as run:
            run.launch()
            code = run.process.wait(PATIENCE)

    assert code == 1
    assert run.output == ""
    assert f"port {port} is taken by process {os.getpid()}: " in run.errors
    assert f"DISPATCHER_PORT={port + 1}" in run.errors
    assert not (run.home / "postgres").exists()


def test_a_second_run_on_the_same_home_names_the_first(home: Path) -> None:
    """The first run goes on."""
    with up(home) as first, launched(home) as second:
        second.launch()

        assert second.process.wait(PATIENCE) == 1
        assert f"in use by another dispatcher, process {first.process.pid}." in second.errors
        assert serves(first)


def test_a_run_waits_for_another_that_is_ending(home: Path) -> None:
    """`kill` and `make up` one after the other work."""
    with up(home) as first, launched(home) as second:
        first.process.terminate()
        second.start()

        assert serves(second)
        assert first.process.wait(PATIENCE) == 0


def test_the_log_is_raw_in_the_file_and_readable_on_the_terminal(home: Path) -> None:
    """JSON lines in the file; time, level, function and message on the terminal."""
    with up(home, DISPATCHER_SWEEP_SECONDS="0.2") as run:
        until(lambda: run.log.count('"message":"Loaded 0 pending commands"') > 2)
        run.stop()

    assert re.search(r"^\d\d:\d\d:\d\d INFO    Sweeper: Loaded 0 pending commands\b", run.output, re.MULTILINE)


def test_an_operators_statements_have_no_timeout(home: Path) -> None:
    """The URL in `env` removes the role's 30 s timeout for psycopg, psql and `make audit`; the functions keep it."""
    query = "select setting from pg_settings where name = 'statement_timeout'"
    with up(home) as run:
        with run.database() as conn:
            assert conn.execute(query).fetchall() == [("0",)]
        with psycopg.connect(run.database_url.partition("?")[0]) as conn:
            assert conn.execute(query).fetchall() == [("30000",)]
        psql = [str(find_binaries() / "psql"), run.database_url, "-Atc", query]
        assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout == "0\n"
        audit = subprocess.run(
            [sys.executable, "-m", "local.tools.loss_report"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher", "DATABASE_URL": run.database_url},
            capture_output=True,
            text=True,
            check=False,
        )

    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_parameter_of_the_template_reaches_the_functions(home: Path) -> None:
    """A queue of one refuses the second command."""
    with up(home, DISPATCHER_QUEUE_LIMIT="1", DISPATCHER_ADMIN_PASSWORD="chosen") as run:
        client = run.client("chosen")
        client.post("/api/v1/agents", {"agentId": "offline", "platform": "kubernetes"})
        client.post("/api/v1/agents/offline/commands", {"action": "upgrade"})
        with pytest.raises(Refused, match="429"):
            client.post("/api/v1/agents/offline/commands", {"action": "upgrade"})


@pytest.mark.parametrize("name", ["DISPATCHER_QUEUE_LIMIT", "DISPATCHER_SWEEP_SECONDS"])
def test_a_wrong_setting_is_reported_before_anything_is_started(home: Path, name: str) -> None:
    """The error says which values are valid; the home is not created."""
    wrong = {name: "many"}
    with launched(home, **wrong) as run:
        run.launch()
        code = run.process.wait(PATIENCE)

    assert code == 1
    assert re.match(rf"\nStartup failed: {name}=many is no .*\nNext: give ", run.errors)
    assert not run.home.exists()


def test_an_argument_starts_nothing(home: Path) -> None:
    """It has no arguments but --help, so a word that is given is a mistake."""
    with launched(home, sys.executable, "-m", "local.up", "--port=9000") as run:
        run.launch()
        code = run.process.wait(PATIENCE)

    assert code == 2
    assert "unrecognized arguments: --port=9000" in run.errors
    assert not run.home.exists()


def test_a_home_that_cannot_be_written_is_reported(home: Path) -> None:
    """The error has its name, the reason, and what to do next."""
    home.mkdir()
    (home / "file").touch()
    with launched(home, DISPATCHER_HOME=f"{home}/file/home") as run:
        run.launch()
        code = run.process.wait(PATIENCE)

    assert code == 1
    assert re.match(r"\nStartup failed: .*/file/home cannot be written: .*\.\nNext: .*DISPATCHER_HOME=", run.errors)


def test_it_ends_on_sigint_although_it_was_started_with_sigint_ignored(home: Path) -> None:
    """A shell without job control ignores SIGINT for what it starts in the background."""
    ignoring = ("bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-m", "local.up")
    with up(home, *ignoring) as run:
        assert run.stop(signal.SIGINT) == 0


@with_make
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_of_make_ends_it_in_order(home: Path, number: signal.Signals) -> None:
    """Ctrl-C in a terminal and `timeout` send such a signal; make passes the signal of `timeout` on once more."""
    with up(home, *MAKE) as run:
        os.killpg(run.process.pid, number)
        run.process.wait(PATIENCE)
        until(lambda: run.processes() == [])

    assert run.output.endswith("\nEnded.\n")
    assert not (run.home / "env").exists()
    assert (run.home / "logs" / "postgres.log").read_text().rstrip().endswith("database system is shut down")


@with_make
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_when_make_ends(home: Path, number: signal.Signals) -> None:
    """Also if make is killed and cannot pass a signal on."""
    with up(home, *MAKE) as run:
        run.stop(number)

        until(lambda: run.processes() == [])
