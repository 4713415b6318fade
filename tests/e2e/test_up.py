"""`make up`: the whole program, as it is started, ended and killed."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psycopg
import pytest

from local import ports
from local.http_client import Client, Refused
from local.postgres.server import find_binaries
from local.settings import Settings, SettingsError
from tests.e2e.starting import ROOT, up

MAKE = ("make", "-o", ".venv/.local", "up")
"""As a person calls it, but what is installed stays."""
with_make = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / ".venv/bin/python").exists(), reason="no make, or no .venv for it"
)


def health(url: str) -> int:
    """Return the status of /healthz."""
    with urlopen(f"{url}/healthz", timeout=5) as response:  # noqa: S310 - a URL of the test's own
        return int(response.status)


def log_in(url: str, password: str) -> bool:
    """Tell whether the admin has this password."""
    body = json.dumps({"username": "admin", "password": password}).encode()
    request = Request(f"{url}/api/v1/auth/login", body, {"Content-Type": "application/json"})  # noqa: S310 - the test's own
    try:
        with urlopen(request, timeout=5) as response:  # noqa: S310
            return int(response.status) == 200
    except HTTPError as error:
        error.close()
        return False


def test_it_serves_says_where_and_ends_on_sigterm_without_a_trace(tmp_path: Path) -> None:
    """The file `env` is there from the first answer to the end, for its owner only; the exit code is 0."""
    with up(tmp_path / "home") as run:
        environment = run.environment()
        mode = (tmp_path / "home" / "env").stat().st_mode & 0o777
        status = health(environment["DISPATCHER_URL"])
        with psycopg.connect(environment["DATABASE_URL"]) as conn:
            tables = conn.execute("select count(*) from agent_commands").fetchall()
        began = time.monotonic()
        run.process.terminate()
        said, complaints = run.process.communicate(timeout=10)
        left = run.left(0)

    assert (mode, status, tables) == (0o600, 200, [(0,)])
    assert (run.process.returncode, complaints, left) == (0, "", [])
    assert time.monotonic() - began < 6
    assert not (tmp_path / "home" / "env").exists()
    assert f"URL            {environment['DISPATCHER_URL']}\n" in said
    assert f"psql '{environment['DATABASE_URL']}'\n" in said


def test_the_password_is_generated_once_and_can_be_set(tmp_path: Path) -> None:
    """The first screen shows the generated one; DISPATCHER_ADMIN_PASSWORD replaces it, from then on."""
    with up(tmp_path) as run:
        url = run.environment()["DISPATCHER_URL"]
        generated = (tmp_path / "admin.password").read_text().strip()
        first = log_in(url, generated)
        run.process.terminate()
        said, _ = run.process.communicate()
    with up(tmp_path, DISPATCHER_ADMIN_PASSWORD="chosen by a person") as run:
        url = run.environment()["DISPATCHER_URL"]
        second = (log_in(url, generated), log_in(url, "chosen by a person"))
        run.process.terminate()
        hidden, _ = run.process.communicate()
    with up(tmp_path) as run:
        third = log_in(run.environment()["DISPATCHER_URL"], "chosen by a person")

    assert (first, second, third) == (True, (False, True), True)
    assert f"Password       {generated}\n" in said
    assert "chosen" not in hidden


def test_it_survives_kill_9_and_serves_again_within_five_seconds(tmp_path: Path) -> None:
    """On the same port, the same database, with what was committed; no process of the first run stays."""
    port = ports.any_free()
    with up(tmp_path, port=port) as first:
        before = first.environment()
        with psycopg.connect(before["DATABASE_URL"]) as conn:
            conn.execute("create table kept as select 7 as number")
        first.process.kill()
        first.process.wait()
        began = time.monotonic()
        with up(tmp_path, port=port) as second:
            while True:
                with contextlib.suppress(URLError, ConnectionError):
                    if health(before["DISPATCHER_URL"]) == 200:
                        break
                assert second.process.poll() is None, second.process.communicate()
                time.sleep(0.02)
            taken = time.monotonic() - began
            after = second.environment()
            with psycopg.connect(after["DATABASE_URL"]) as conn:
                kept = conn.execute("select number from kept").fetchall()

    assert (after, kept) == (before, [(7,)])
    assert taken < 5
    assert first.left() == []


def test_a_taken_port_is_said_before_anything_is_started(tmp_path: Path) -> None:
    """With who has it, and how to go on; no database is made."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with up(tmp_path, port=port) as run:
            said, complaints = run.process.communicate(timeout=10)

    assert (run.process.returncode, said) == (1, "")
    assert f"port {port} is taken by process {os.getpid()}: " in complaints
    assert f"DISPATCHER_PORT={port + 1}" in complaints
    assert not (tmp_path / "postgres").exists()


def test_a_second_run_on_the_same_home_names_the_first(tmp_path: Path) -> None:
    """And leaves it alone."""
    with up(tmp_path) as first:
        url = first.environment()["DISPATCHER_URL"]
        with up(tmp_path) as second:
            _, complaints = second.process.communicate(timeout=10)

            assert f"in use by another dispatcher, process {first.process.pid}." in complaints
            assert second.process.returncode == 1
            assert health(url) == 200


def test_a_run_waits_for_another_that_is_ending(tmp_path: Path) -> None:
    """`kill` and `make up` one after the other simply work."""
    port = ports.any_free()
    with up(tmp_path, port=port) as first:
        first.environment()
        first.process.terminate()
        with up(tmp_path, port=port) as second:
            first.process.wait()
            assert health(second.environment()["DISPATCHER_URL"]) == 200


def test_functions_log_is_raw_in_the_file_and_readable_on_the_terminal(tmp_path: Path) -> None:
    """One JSON document a line there; time, level, function and message here."""
    with up(tmp_path, DISPATCHER_SWEEP_SECONDS="0.2") as run:
        run.environment()
        log = tmp_path / "logs" / "dispatcher.log"
        deadline = time.monotonic() + 20
        while log.read_text().count("pending commands") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        run.process.terminate()
        said, _ = run.process.communicate()
    messages = [json.loads(line).get("message") for line in log.read_text().splitlines()]

    assert messages.count("Loaded 0 pending commands") >= 3
    assert re.search(r"^\d\d:\d\d:\d\d INFO    Sweeper: Loaded 0 pending commands\b", said, re.MULTILINE)


def test_sweeps_that_found_nothing_do_not_flood_the_terminal(tmp_path: Path) -> None:
    """Of many a second the first is shown, as a sign of life; the file has them all."""
    with up(tmp_path, DISPATCHER_SWEEP_SECONDS="0.01") as run:
        run.environment()
        log = tmp_path / "logs" / "dispatcher.log"
        deadline = time.monotonic() + 20
        while log.read_text().count("pending commands") < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        run.process.terminate()
        said, _ = run.process.communicate()

    assert log.read_text().count("Loaded 0 pending commands") >= 10
    assert said.count("Loaded 0 pending commands") == 1


def test_an_operator_at_psql_has_all_the_time_that_a_function_has_not(tmp_path: Path) -> None:
    """The URL of `env` lifts the 30 s of the role, for psycopg, psql and the audit alike; other logins keep them."""
    query = "select setting from pg_settings where name = 'statement_timeout'"
    with up(tmp_path) as run:
        url = run.environment()["DATABASE_URL"]
        with psycopg.connect(url) as conn:
            lifted = conn.execute(query).fetchall()
        with psycopg.connect(url.partition("?")[0]) as conn:
            kept = conn.execute(query).fetchall()
        psql = subprocess.run(
            [find_binaries() / "psql", url, "-Atc", query], capture_output=True, text=True, check=True
        )
        audit = subprocess.run(
            [sys.executable, "-m", "local.tools.loss_report"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher", "DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
        )

    assert (lifted, psql.stdout, kept) == ([("0",)], "0\n", [("30000",)])
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_parameter_of_the_template_reaches_the_functions(tmp_path: Path) -> None:
    """A queue of one refuses the second command, and the log tells details."""
    with up(tmp_path, DISPATCHER_QUEUE_LIMIT="1", DISPATCHER_ADMIN_PASSWORD="chosen") as run:
        client = Client.log_in(run.environment()["DISPATCHER_URL"], "admin", "chosen")
        client.post("/api/v1/agents", {"agentId": "away", "platform": "kubernetes"})
        client.post("/api/v1/agents/away/commands", {"action": "upgrade"})
        with pytest.raises(Refused, match="429"):
            client.post("/api/v1/agents/away/commands", {"action": "upgrade"})


@pytest.mark.parametrize("name", ["DISPATCHER_QUEUE_LIMIT", "DISPATCHER_SWEEP_SECONDS"])
def test_a_wrong_setting_is_said_before_anything_is_started(tmp_path: Path, name: str) -> None:
    """With what to give instead; the home is not even made."""
    wrong = {name: "many"}
    with up(tmp_path / "home", port=0, **wrong) as run:
        said, complaints = run.process.communicate(timeout=10)

    assert (run.process.returncode, said) == (1, "")
    assert re.match(rf"\nIt does not run: {name}=many is no .*\nNext: give ", complaints)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("home", ["/proc/nowhere/home", "/dev/null", "/dev/null/home"])
def test_a_home_that_can_not_be_written_is_said(home: str) -> None:
    """With its name, the reason, and the way out."""
    with up(Path(home)) as run:
        said, complaints = run.process.communicate(timeout=10)

    assert (run.process.returncode, said) == (1, "")
    assert re.fullmatch(rf"\nIt does not run: {home} cannot be written: .*\.\nNext: .*DISPATCHER_HOME=.*\n", complaints)


def test_it_ends_when_its_database_does(tmp_path: Path) -> None:
    """Whoever keeps it running gets an exit code and a reason, not a server of errors."""
    with up(tmp_path) as run:
        run.environment()
        os.kill(int((tmp_path / "postgres" / "postmaster.pid").read_text().partition("\n")[0]), signal.SIGKILL)
        _, complaints = run.process.communicate(timeout=10)

    assert run.process.returncode == 1
    assert "PostgreSQL has ended" in complaints


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    """Also then no process stays."""
    with up(tmp_path) as run:
        run.environment()
        os.kill(run.process.pid, signal.SIGINT)
        os.kill(run.process.pid, signal.SIGTERM)
        run.process.communicate(timeout=5)

        assert run.left() == []


@with_make
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_make(tmp_path: Path, number: signal.Signals) -> None:
    """Whichever signal make gets, even where make tells nobody."""
    with up(tmp_path, *MAKE) as run:
        run.environment()
        run.process.send_signal(number)
        run.process.communicate(timeout=10)

        assert run.left() == []


@with_make
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_its_group_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """As Ctrl-C in the terminal and `timeout` send it; make passes the latter on once more; the database ends last."""
    with up(tmp_path, *MAKE) as run:
        run.environment()
        os.killpg(run.process.pid, number)
        time.sleep(0.1)  # make may be slow to pass it on, and must not make it two
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, number)
        said, complaints = run.process.communicate(timeout=10)

    assert "Ending.\nEnded.\n" in said
    assert "Error" not in complaints
    assert not (tmp_path / "env").exists()
    assert (tmp_path / "logs" / "postgres.log").read_text().rstrip().endswith("database system is shut down")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("DISPATCHER_PORT", value) for value in ("http", "-1", "65536", "8000.0", "\N{SUPERSCRIPT TWO}")),
        *(("DISPATCHER_SWEEP_SECONDS", value) for value in ("often", "0", "-3", "inf", "nan")),
    ],
)
def test_a_setting_that_can_not_be_is_named(name: str, value: str) -> None:
    """Together with what it says, and what it may say."""
    with pytest.raises(SettingsError, match=rf"^{name}={re.escape(value)} is no .*\nNext: "):
        Settings.read({name: value})


def test_an_empty_setting_is_as_good_as_none() -> None:
    """`DISPATCHER_PORT= make up` is the usual port."""
    names = ("DISPATCHER_PORT", "DISPATCHER_HOME", "DISPATCHER_ADMIN_PASSWORD", "DISPATCHER_SWEEP_SECONDS")

    assert Settings.read(dict.fromkeys(names, "")) == Settings.read({})
    assert (Settings.read({}).port, Settings.read({}).home) == (8000, Path.cwd() / ".dispatcher")
