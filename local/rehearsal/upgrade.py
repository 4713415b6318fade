"""An upgrade under load: a migration that meets locks, one that fails half-way, both releases at a time, the way back."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from local.rehearsal import service, traffic
from local.rehearsal.service import Service
from local.rehearsal.traffic import ROOT, Traffic, expect, until

PACKAGE = Path("layers/dispatcher/dispatcher")
COLUMN, INDEX, BROKEN = "9001_column.sql", "9002_index.sql", "9003_broken.sql"
FILES = {
    COLUMN: "alter table agent_commands add column rehearsal integer;\n",
    INDEX: "-- no transaction\n"
    "create index concurrently if not exists rehearsal_action on agent_commands (action) where rehearsal is null;\n",
    BROKEN: "create table rehearsal_half (id integer);\nalter table agent_commands add column rehearsal text;\n",
}
HELD_SECONDS = 4.0
"""How long a forgotten transaction holds a lock: longer than a migration waits for it."""
PATIENCE = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the upgrade cost those who used the service."""

    accepted: int
    longest_gap: float
    """The longest time between two commands that were accepted while the schema was migrated, in seconds."""
    refused: int
    """Requests that were refused meanwhile, and repeated."""
    waits: int
    """How often a statement of the migration gave way to others."""
    error: str
    """What the migration that failed said."""


def rehearse(folder: Path, show: Callable[[str], None]) -> Outcome:
    """Upgrade a service under traffic and go back; raises RehearsalFailed if a check fails."""
    release = _release(folder / "release")
    home = folder / "home"
    with service.running(home) as old:
        port = int(old.url.rpartition(":")[2])
        client = old.client()
        with traffic.running(client, folder / "agents") as load, psycopg.connect(old.database_url) as conn:
            conn.autocommit = True
            load.wait_for(20)
            load.operator.longest_gap = 0.0
            failed = _migrate_against_a_lock(release, old, show)
            _expect_only_the_broken_file_is_missing(conn, failed)
            load.wait_for(20)
            show("the release of before serves on")

            (release / PACKAGE / "schema" / BROKEN).write_text("create table rehearsal_half (id integer);\n")
            mended = _migrate(release, old)
            expect(mended.returncode == 0 and BROKEN in mended.stdout, f"the mended file is applied: {mended.stderr}")
            gap = load.operator.longest_gap
            refused = load.operator.refused.total()
            show(
                f"the mended migration is applied; meanwhile {refused} requests were refused, and the longest time without an"
                f" accepted command was {gap:.1f} s"
            )
            _side_by_side(release, load, conn, old)
            show("the new release takes commands, and the release of before delivers them")
            old.process.terminate()
            old.process.wait(PATIENCE)
            for root, name in ((release, "new release"), (ROOT, "release of before, on the newer schema")):
                with service.running(home, port=port, root=root) as now:
                    load.wait_for(20, PATIENCE)
                    show(f"the {name} serves")
                    if root == ROOT:
                        load.stop()
                        load.settle(now.client(), PATIENCE)
            return Outcome(
                accepted=len(load.accepted),
                longest_gap=gap,
                refused=refused,
                waits=failed.stdout.count("Migration waits"),
                error=failed.stderr.strip(),
            )


def _release(folder: Path) -> Path:
    """Lay out the next release: this code with more schema files and other functions in the database."""
    folder.mkdir()
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name != "layers":
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (folder / PACKAGE / "schema" / name).write_text(text)
    functions = folder / PACKAGE / "commands" / "claim.function.sql"
    functions.write_text(f"-- The next release.\n{functions.read_text()}")
    return folder


def _python(release: Path, *arguments: str, database_url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=release,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{release}:{release / 'layers/dispatcher'}",
            "DATABASE_URL": database_url,
            "DATABASE_ROLE": "dispatcher_functions",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def _migrate(release: Path, running: Service) -> subprocess.CompletedProcess[str]:
    return _python(release, "-m", "local.tools.migrate", database_url=running.database_url)


def _migrate_against_a_lock(
    release: Path, running: Service, show: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    """Migrate while somebody's transaction uses the table of commands, and has forgotten to end."""
    with psycopg.connect(running.database_url) as forgotten:
        forgotten.execute("lock table agent_commands in row exclusive mode")
        timer = threading.Timer(HELD_SECONDS, forgotten.rollback)
        timer.start()
        failed = _migrate(release, running)
        timer.join()
    expect(failed.returncode == 1, "a migration that fails says so")
    waits = failed.stdout.count("Migration waits")
    expect(waits > 0, "the migration gives way to those who wait behind it")
    show(f"the migration gave way {waits} times while a transaction held a lock")
    show(f"a file that fails half-way stops it: {failed.stderr.strip()}")
    return failed


def _expect_only_the_broken_file_is_missing(
    conn: psycopg.Connection[tuple[object, ...]], failed: subprocess.CompletedProcess[str]
) -> None:
    expect(f"{BROKEN} was not applied" in failed.stderr, f"the error names the file: {failed.stderr}")
    applied = conn.execute("select name from schema_migrations where name like '900%' order by name").fetchall()
    expect(applied == [(COLUMN,), (INDEX,)], f"the files before it are applied: {applied}")
    left = conn.execute("select to_regclass('rehearsal_half') is null").fetchall()
    expect(left == [(True,)], "nothing stays of the file that failed")
    valid = conn.execute("select indisvalid from pg_index where indexrelid = 'rehearsal_action'::regclass").fetchall()
    expect(valid == [(True,)], "the index that was built beside the traffic is valid")


SUBMIT = """
import os
from dispatcher.access.roles import Operator, Role
from dispatcher.commands import submission
from dispatcher.commands.submission import NewCommand
from dispatcher.platform import functions
from dispatcher.platform.database import open_connection

with open_connection(os.environ["DATABASE_URL"]) as conn:
    print(functions.schema())
    for number in range(20):
        new = NewCommand(agent_id=f"rehearsal-{number % 2}", action="work", payload={}, idempotency_key=f"new-{number}")
        accepted = submission.submit(conn, new, Operator(username="admin", role=Role.ADMIN))
        print(accepted.command.command_id)
"""


def _side_by_side(release: Path, load: Traffic, conn: psycopg.Connection[tuple[object, ...]], running: Service) -> None:
    """Submit with the new release's code, while the functions of the release of before deliver and settle."""
    done = _python(release, "-c", SUBMIT, database_url=running.database_url)
    expect(done.returncode == 0, f"the new release submits: {done.stderr}")
    schema, *ids = done.stdout.split()
    known = conn.execute("select name from engine_schemas order by used_at desc limit 2").fetchall()
    expect((schema,) in known and len(known) == 2, f"each release has its own functions in the database: {known}")  # noqa: PLR2004
    until("every command of the new release is executed", lambda: set(ids) <= set(load.executed()), PATIENCE)
