"""The PostgreSQL of a home: real servers, real kills."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import psycopg
import pytest

from local.home import HomeInUseError
from local.postgres import server as postgres
from local.postgres.cluster import ACCESS

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROOT = Path(__file__).parents[4]
PROGRAM = """
import sys, time
from pathlib import Path
from local.postgres import server as postgres
with postgres.running(Path(sys.argv[1]), settings={"fsync": "off", "shared_buffers": "16MB"}) as server:
    print(server.url, flush=True)
    time.sleep(100)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def ask(url: str, query: str = "select 1") -> str:
    """Return the first value of a query's answer."""
    with psycopg.connect(url, connect_timeout=5) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def postmaster(home: Path) -> psutil.Process:
    """Return the home's server."""
    return psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().partition("\n")[0]))


def gone(process: psutil.Process) -> bool:
    """Tell whether the process ends in time; a zombie has ended."""
    deadline = time.monotonic() + 20
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    return True


@contextlib.contextmanager
def program(
    home: Path, *, python: str = sys.executable, user: int | None = None
) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a program that starts the home's server, until the block ends; yield its process and the server's URL."""
    packages = os.pathsep.join([str(ROOT), sysconfig.get_paths()["purelib"]])
    process = subprocess.Popen(
        [python, "-c", PROGRAM, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
                gone(postmaster(home))


def test_the_role_owns_its_database_and_is_no_superuser(tmp_path: Path) -> None:
    """It may create databases, as the tests do."""
    with postgres.running(tmp_path / "home", settings=FAST) as server:
        owner = ask(server.url, "select pg_get_userbyid(datdba) from pg_database where datname = 'dispatcher'")
        rights = ask(server.url, "select (rolsuper, rolcreatedb)::text from pg_roles where rolname = current_user")

    assert owner == "dispatcher"
    assert rights == "(f,t)"


def test_a_second_start_keeps_data_password_and_port(tmp_path: Path) -> None:
    """The data is still there, under the same URL."""
    with postgres.running(tmp_path, settings=FAST) as first, psycopg.connect(first.url) as conn:
        conn.execute("create table kept as select 7 as number")

    with postgres.running(tmp_path, settings=FAST) as second:
        assert second.url == first.url
        assert ask(second.url, "select number from kept") == "7"


def test_by_default_commits_are_on_the_disk(tmp_path: Path) -> None:
    """The settings fsync and synchronous_commit are on, because a 202 must survive a crash."""
    with postgres.running(tmp_path) as server:
        assert ask(server.url, "show fsync") == "on"
        assert ask(server.url, "show synchronous_commit") == "on"


def test_only_the_generated_password_opens_the_database(tmp_path: Path) -> None:
    """It is in a file that only its owner can read; the superuser has no password."""
    with postgres.running(tmp_path, settings=FAST) as server:
        mode = (tmp_path / "postgres.password").stat().st_mode & 0o777
        for role in ("dispatcher", "postgres"):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                ask(f"postgresql://{role}:wrong@127.0.0.1:{server.port}/dispatcher")

    assert mode == 0o600


def test_functions_reach_the_server_over_a_unix_socket(tmp_path: Path) -> None:
    """With their password; also in a home of an earlier version, and where a killed server has left its socket."""
    with postgres.running(tmp_path, settings=FAST) as server:
        postmaster(tmp_path).kill()
    (tmp_path / "postgres" / "pg_hba.conf").write_text(ACCESS)

    with postgres.running(tmp_path, settings=FAST) as server:
        assert ask(server.functions_url, "select inet_server_addr() is null") == "True"
        assert ask(server.url, "select inet_server_addr()") == "127.0.0.1"
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            ask(server.functions_url.replace("@", "wrong@"))


def test_where_the_path_is_too_long_for_a_socket_functions_use_tcp(tmp_path: Path) -> None:
    """The server starts all the same."""
    with postgres.running(tmp_path / ("x" * 100), settings=FAST) as server:
        assert ask(server.functions_url, "select inet_server_addr()") == "127.0.0.1"


def test_a_lost_password_is_replaced(tmp_path: Path) -> None:
    """The data is not lost with the file."""
    with postgres.running(tmp_path, settings=FAST):
        pass
    (tmp_path / "postgres.password").unlink()

    with postgres.running(tmp_path, settings=FAST) as server:
        assert ask(server.url) == "1"


def test_a_port_that_another_program_has_taken_is_not_used(tmp_path: Path) -> None:
    """The next start takes another one."""
    with postgres.running(tmp_path, settings=FAST) as first:
        pass

    with socket.create_server(("127.0.0.1", first.port)), postgres.running(tmp_path, settings=FAST) as second:
        assert second.port != first.port
        assert ask(second.url) == "1"


def test_a_home_in_use_is_refused(tmp_path: Path) -> None:
    """The error names the holder and what to do next, and the holder's server goes on."""
    with program(tmp_path) as (holder, url):
        with (
            pytest.raises(HomeInUseError, match=rf"process {holder.pid}\.\nNext: .*DISPATCHER_HOME"),
            postgres.running(tmp_path, settings=FAST, patience=0.2),
        ):
            pass

        assert ask(url) == "1"


def test_the_server_ends_with_a_killed_parent_and_starts_again_at_once(tmp_path: Path) -> None:
    """A start right after the SIGKILL waits for the end of the old server."""
    with program(tmp_path) as (parent, url):
        server = postmaster(tmp_path)
        parent.kill()
        parent.wait()
        with program(tmp_path) as (_next, again):
            assert ask(again) == "1"

    assert again == url
    assert gone(server)


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    """The server and its guard end soon after the parent."""
    with program(tmp_path) as (parent, _url):
        server = postmaster(tmp_path)
        guard = server.parent()
        parent.kill()

        assert gone(server)
        assert guard is not None
        assert gone(guard)


def test_a_server_whose_guard_was_killed_too_is_ended_by_the_next_start(tmp_path: Path) -> None:
    """The home does not stay locked."""
    with program(tmp_path) as (parent, _url):
        server = postmaster(tmp_path)
        guard = server.parent()
        assert guard is not None
        guard.kill()
        parent.kill()

        with postgres.running(tmp_path, settings=FAST) as again:
            assert ask(again.url) == "1"
            assert gone(server)


def test_a_server_that_was_killed_recovers(tmp_path: Path) -> None:
    """What was committed before the crash is there after the next start."""
    with postgres.running(tmp_path, settings=FAST) as server:
        with psycopg.connect(server.url) as conn:
            conn.execute("create table kept as select 7 as number")
        postmaster(tmp_path).kill()

    with postgres.running(tmp_path, settings=FAST) as again:
        assert ask(again.url, "select number from kept") == "7"


def test_a_stale_process_id_that_another_process_has_now_does_no_harm(tmp_path: Path) -> None:
    """After a reboot another process may have the number: it is not touched, and the server starts."""
    with postgres.running(tmp_path, settings=FAST):
        pass
    with subprocess.Popen(["sleep", "60"]) as innocent:
        stale = tmp_path / "postgres" / "postmaster.pid"
        stale.write_text(f"{innocent.pid}\n{tmp_path / 'postgres'}\n1\n5432\n\n127.0.0.1\n0 0\nready\n")

        with postgres.running(tmp_path, settings=FAST) as server:
            assert ask(server.url) == "1"
        assert innocent.poll() is None
        innocent.kill()


def test_a_setting_that_the_server_refuses_is_in_the_error(tmp_path: Path) -> None:
    """The error has the end of the log, and the home is free again."""
    with (
        pytest.raises(postgres.PostgresError, match='unrecognized configuration parameter "nonsense"'),
        postgres.running(tmp_path, settings={**FAST, "nonsense": "1"}),
    ):
        pass

    with postgres.running(tmp_path, settings=FAST, patience=0) as server:
        assert ask(server.url) == "1"


def test_without_postgres_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG_BIN is used, and the error names it if it is wrong."""
    monkeypatch.setenv("PG_BIN", str(tmp_path))

    with pytest.raises(postgres.PostgresError, match=r"looked in: .*\n.*requirements/local.txt"):
        postgres.find_binaries()


@pytest.fixture
def closed_folder() -> Generator[Callable[[str], Path]]:
    """Make a folder that belongs to the named user and is closed to all others."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # open to every user, unlike pytest's own

    def give(user: str) -> Path:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return folder

    yield give
    shutil.rmtree(folder)


@as_root
def test_an_ordinary_user_runs_the_server(closed_folder: Callable[[str], Path]) -> None:
    """No change of the user is needed."""
    python, user = "/usr/bin/python3", pwd.getpwnam("nobody").pw_uid
    imports = [python, "-c", "import sys, psycopg, psutil; sys.exit(sys.version_info < (3, 11))"]
    environment = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    if subprocess.run(imports, user=user, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("no Python and packages that another user can read")
    home = closed_folder("nobody") / "home"

    with program(home, python=python, user=user) as (_process, url):
        assert ask(url) == "1"
        assert (home / "postgres").stat().st_uid == user


@as_root
def test_root_runs_the_server_as_the_owner_of_the_home(closed_folder: Callable[[str], Path]) -> None:
    """As with sudo: the files still belong to the user."""
    home = closed_folder("nobody")

    with postgres.running(home, settings=FAST) as server:
        assert ask(server.url) == "1"
        assert (home / "postgres").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@as_root
def test_root_runs_the_server_in_a_folder_that_is_closed_to_all_others() -> None:
    """As in /root."""
    with tempfile.TemporaryDirectory(dir="/root") as folder, postgres.running(Path(folder), settings=FAST) as server:
        assert ask(server.url) == "1"
