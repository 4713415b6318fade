"""Processes that are killed with SIGKILL, and database sessions that are terminated.

After each, every accepted command is delivered, in order, and a second delivery has a larger attempt.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dispatcher.commands import submission
from dispatcher.commands.delivery import deliver
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import plenty
from tests.rows import connect, create_agent, put, receive, statuses
from tests.simulation.killed_process import ANN, APPLICATION_NAME, POINTS, new
from tests.simulation.recording_gateway import RecordingGateway, deliveries
from tests.simulation.simulated_time import TimeShift

SUBMITTED_BY_PROCESS = {"after the commit of a submission": 2, "in the delivery after a submission": 2}
SWEEPS = 2
"""The first sweep sends the commands without a lease holder; the second one sends those of the killed process."""


@pytest.fixture
def gateway(database_url: str) -> Iterator[RecordingGateway]:
    """The gateway of the processes that survive."""
    gateway = RecordingGateway(database_url)
    yield gateway
    gateway.disconnect()


@pytest.fixture(autouse=True)
def _agent(conn: Connection) -> None:
    """An agent of protocol 2 is connected."""
    create_agent(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=10)


def report_everything(conn: Connection) -> None:
    """Report on everything that reached the agent."""
    reports = [
        {"kind": kind, "commandId": each.command_id, "attempt": each.attempt}
        for each in deliveries(conn)
        for kind in ("ack", "complete")
    ]
    receive(conn, "a1", "c1", json.dumps({"type": "reports", "reports": reports}))


def recover(conn: Connection, gateway: RecordingGateway) -> None:
    """Let the sweep run each minute, and the agent report."""
    shift = TimeShift(conn)
    for _ in range(SWEEPS):
        shift.apply(conn, 61)
        receive(conn, "a1", "c1", '{"type": "heartbeat"}')
        assert sweep(conn, gateway, deadline=plenty).failed_passes == 0
        report_everything(conn)


def assert_delivered_in_order_and_completed(conn: Connection) -> None:
    """Assert that every command was delivered, in order, each time with a larger attempt, and is completed."""
    attempts: dict[str, list[int]] = {}
    for delivery in deliveries(conn):
        attempts.setdefault(delivery.command_id, []).append(delivery.attempt)
    assert [each for each in attempts.values() if any(second <= first for first, second in pairwise(each))] == []
    assert list(attempts) == list(statuses(conn))
    assert set(statuses(conn).values()) == {"completed"}


def wait_for_rollback(conn: Connection) -> None:
    """Wait until PostgreSQL has noticed that the process is gone, and has released its locks."""
    while conn.execute("select from pg_stat_activity where application_name = %s", (APPLICATION_NAME,)).fetchone():
        time.sleep(0.005)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_process_loses_no_command_and_every_second_delivery_has_a_larger_attempt(
    conn: Connection, database_url: str, gateway: RecordingGateway, root: Path, point: str
) -> None:
    """SIGKILL: no handler runs, and no connection is closed properly."""
    for number in range(3):
        put(conn, f"k{number}")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.killed_process", point, database_url],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'layers/dispatcher'}", "POWERTOOLS_LOG_LEVEL": "CRITICAL"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    wait_for_rollback(conn)

    recover(conn, gateway)

    assert process.returncode == -signal.SIGKILL
    assert len(statuses(conn)) == 3 + SUBMITTED_BY_PROCESS.get(point, 0)
    assert_delivered_in_order_and_completed(conn)


WORK: dict[str, Callable[[Connection, RecordingGateway], object]] = {
    "submit": lambda conn, _: submission.submit(conn, new("more"), ANN),
    "deliver": lambda conn, gateway: deliver(conn, gateway, "a1", plenty),
    "report": lambda conn, _: report_everything(conn),
    "sweep": lambda conn, gateway: sweep(conn, gateway, deadline=plenty),
}
WRITES = [
    ("submit", "agent_commands", 1),
    ("deliver", "agents", 1),  # the lease
    ("deliver", "agent_commands", 2),  # the claim
    ("deliver", "agents", 2),  # the settlement
    ("report", "agent_commands", 1),  # the first result
    ("report", "agent_commands", 3),  # the last one
    ("sweep", "agents", 1),
    ("sweep", "agent_commands", 3),
]
"""The work whose session is terminated at its n-th write to a table."""


def terminate_at(conn: Connection, table: str, number: int, *, commit: bool) -> None:
    """Terminate the session named `terminated` at its n-th write to a table, or at the commit of that write."""
    conn.execute("create sequence writes")
    function = sql.SQL(
        """create function terminate() returns trigger language plpgsql as $$ begin
            if current_setting('application_name') = 'terminated' and nextval('writes') = {} then
                perform pg_terminate_backend(pg_backend_pid());
            end if; return null; end $$"""
    )
    conn.execute(function.format(number))
    kind, when = ("constraint trigger", "deferrable initially deferred") if commit else ("trigger", "")
    trigger = "create {} terminate after insert or update on {} {} for each row execute function terminate()"
    conn.execute(sql.SQL(trigger).format(sql.SQL(kind), sql.Identifier(table), sql.SQL(when)))


@pytest.mark.parametrize("commit", [False, True], ids=["in a transaction", "at commit"])
@pytest.mark.parametrize("write", WRITES, ids=str)
def test_a_terminated_database_session_loses_no_command(
    conn: Connection,
    database_url: str,
    gateway: RecordingGateway,
    monkeypatch: pytest.MonkeyPatch,
    write: tuple[str, str, int],
    *,
    commit: bool,
) -> None:
    """As in a failover: PostgreSQL ends the session in the middle of a statement or of a commit.

    A claim is given back over a new connection.
    """
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(database, "_kept", None)
    work, table, number = write
    for each in range(3):
        put(conn, f"k{each}")
    if work == "report":
        deliver(conn, gateway, "a1", plenty)
    terminate_at(conn, table, number, commit=commit)

    with open_connection(f"{database_url}?application_name=terminated") as terminated:
        with contextlib.suppress(psycopg.OperationalError):  # the sweep counts it as a failed pass
            WORK[work](terminated, gateway)
        assert terminated.closed
    if database._kept is not None:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        database._kept.close()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    conn.execute("drop function terminate cascade")
    recover(conn, gateway)

    assert_delivered_in_order_and_completed(conn)
