"""Real processes killed with SIGKILL, real sessions of the database ended, events doubled, late and lost.

After each: everything that was accepted ends delivered, in order, and what came twice came with a larger attempt.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from dispatcher.commands import flush
from dispatcher.commands import submission as intake
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import plenty
from tests.rows import connect, create_agent, put, receive, statuses
from tests.simulation.clock import Shift
from tests.simulation.recorder import Delivery, Recorder, deliveries
from tests.simulation.victim import ANN, POINTS, go_on

ACCEPTED_BY_VICTIM = {"after the commit of an intake": 2, "in the delivery after an intake": 2}
SWEEPS = 2
"""What was in nobody's hands goes out with the first sweep after a minute; what was, by the second."""


@pytest.fixture
def recorder(database_url: str) -> Iterator[Recorder]:
    """The gateway."""
    one = Recorder(database_url, go_on, go_on)
    yield one
    one.end()


@pytest.fixture(autouse=True)
def _agent(conn: Connection) -> None:
    """An agent of the second protocol is connected."""
    create_agent(conn)
    connect(conn, mode=DeliveryMode.BATCHING, window=10)


def answer(conn: Connection) -> None:
    """Let the agent report on everything that reached it."""
    reports = [
        {"kind": kind, "commandId": each.command_id, "attempt": each.attempt}
        for each in deliveries(conn)
        for kind in ("ack", "complete")
    ]
    receive(conn, "a1", "c1", json.dumps({"type": "reports", "reports": reports}))


def recover(conn: Connection, recorder: Recorder) -> None:
    """Let the schedule go on, and the agent do what it owes."""
    shift = Shift(conn)
    for _ in range(SWEEPS):
        shift.apply(conn, 61)
        receive(conn, "a1", "c1", '{"type": "heartbeat"}')
        assert sweep(conn, recorder, deadline=plenty).failed_passes == 0
        answer(conn)


def check(conn: Connection) -> None:
    """Check order, duplicates and ends."""
    came: dict[str, list[int]] = {}
    for delivery in deliveries(conn):
        came.setdefault(delivery.command_id, []).append(delivery.attempt)
    assert all(first < second for attempts in came.values() for first, second in pairwise(attempts)), came
    assert list(came) == list(statuses(conn))
    assert set(statuses(conn).values()) == {"completed"}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_process_loses_nothing_and_doubles_nothing_without_saying_so(
    conn: Connection, database_url: str, recorder: Recorder, root: Path, point: str
) -> None:
    """SIGKILL: no handler runs, no socket is closed in order."""
    for number in range(3):
        put(conn, f"k{number}")
    before = len(statuses(conn))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.simulation.victim", point, database_url],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'layers/dispatcher'}", "POWERTOOLS_LOG_LEVEL": "CRITICAL"},
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "here\n"
        victim.send_signal(signal.SIGKILL)

    recover(conn, recorder)

    assert victim.returncode == -signal.SIGKILL
    assert len(statuses(conn)) == before + ACCEPTED_BY_VICTIM.get(point, 0)
    check(conn)


def submit(conn: Connection, _recorder: Recorder) -> None:
    """Accept one more command."""
    intake.submit(conn, [NewCommand(agent_id="a1", action="more", payload={})], ANN)


def deliver_all(conn: Connection, recorder: Recorder) -> None:
    """Deliver what is due."""
    deliver(conn, recorder, "a1", plenty)


def report(conn: Connection, _recorder: Recorder) -> None:
    """Take the agent's reports."""
    answer(conn)


def sweep_once(conn: Connection, recorder: Recorder) -> None:
    """Sweep; a pass that fails is counted, and no error."""
    sweep(conn, recorder, deadline=plenty)


WORKS: dict[str, Callable[[Connection, Recorder], None]] = {
    "submit": submit,
    "deliver": deliver_all,
    "report": report,
    "sweep": sweep_once,
}


WRITES = [
    ("submit", "agent_commands", 1),
    ("deliver", "agents", 1),  # the lease
    ("deliver", "agent_commands", 2),  # the claim
    ("deliver", "agents", 2),  # the settlement
    ("report", "agent_commands", 1),  # the acks
    ("report", "agent_commands", 5),  # the results
    ("sweep", "agents", 1),
    ("sweep", "agent_commands", 3),
]
"""Which work is cut short at its n-th write to which table."""


def terminate_at(conn: Connection, table: str, number: int, *, commit: bool) -> None:
    """Let the session `victim` end at the n-th time that it writes to a table, or at the commit of that."""
    conn.execute("create sequence writes")
    function = sql.SQL(
        """create function terminate() returns trigger language plpgsql as $$ begin
            if current_setting('application_name') = 'victim' and nextval('writes') = {} then
                perform pg_terminate_backend(pg_backend_pid());
            end if; return null; end $$"""
    )
    conn.execute(function.format(number))
    kind, when = ("constraint trigger", "deferrable initially deferred") if commit else ("trigger", "")
    trigger = "create {} terminate after insert or update on {} {} for each row execute function terminate()"
    conn.execute(sql.SQL(trigger).format(sql.SQL(kind), sql.Identifier(table), sql.SQL(when)))


@pytest.mark.parametrize("commit", [False, True], ids=["in mid-transaction", "at commit"])
@pytest.mark.parametrize("write", WRITES, ids=str)
def test_a_session_of_the_database_that_ends_loses_nothing(
    conn: Connection, database_url: str, recorder: Recorder, write: tuple[str, str, int], *, commit: bool
) -> None:
    """As in a failover: PostgreSQL ends it in the midst of a statement, or of a commit."""
    work, table, number = write
    for each in range(3):
        put(conn, f"k{each}")
    if work == "report":
        deliver(conn, recorder, "a1", plenty)
    terminate_at(conn, table, number, commit=commit)

    with open_connection(f"{database_url}?application_name=victim") as victim:
        with contextlib.suppress(psycopg.OperationalError):  # whoever works sees it, and the sweep counts it
            WORKS[work](victim, recorder)
        assert victim.closed
    conn.execute("drop function terminate cascade")
    recover(conn, recorder)

    check(conn)


def handed_over(conn: Connection, connection_id: str = "c1") -> FlushRequest:
    """Make the event that `connect` would have made."""
    row = conn.execute("select epoch from agent_connections where connection_id = %s", (connection_id,)).fetchone()
    assert row is not None
    return FlushRequest(agent_id="a1", connection_id=connection_id, epoch=row[0])


def test_a_doubled_flush_delivers_once(conn: Connection, database_url: str, recorder: Recorder) -> None:
    """Both run at once; one takes the lease."""
    for number in range(20):
        put(conn, f"k{number:02}")
    event = handed_over(conn)

    def flush_once() -> None:
        with open_connection(database_url) as own:
            gateway = Recorder(database_url, go_on, go_on)
            flush.flush(own, gateway, event, plenty)
            gateway.end()

    both = [threading.Thread(target=flush_once) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    for _ in range(2):  # a window of ten
        answer(conn)
        deliver(conn, recorder, "a1", plenty)

    assert deliveries(conn) == [Delivery(command_id=f"k{number:02}", attempt=1) for number in range(20)]
    check(conn)


def test_a_late_flush_of_an_older_connection_delivers_to_the_newer_one_or_not_at_all(
    conn: Connection, recorder: Recorder
) -> None:
    """The agent reconnected meanwhile, and its own flush is lost."""
    put(conn, "k0")
    late = handed_over(conn)
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)

    flush.flush(conn, recorder, late, plenty)
    flush.flush(conn, recorder, late, plenty)

    assert deliveries(conn) == [Delivery(command_id="k0", attempt=1)]
    assert conn.execute("select epoch from agent_commands").fetchone() == (2,)


def test_a_lost_flush_is_made_good_by_the_sweep(conn: Connection, recorder: Recorder) -> None:
    """Nobody says that the handshake is over, and 10 s later it must be."""
    connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING, window=10)
    conn.execute("update agents set live = false")
    put(conn, "k0")
    sweep(conn, recorder, deadline=plenty)
    early = deliveries(conn)

    Shift(conn).apply(conn, 61)
    sweep(conn, recorder, deadline=plenty)

    assert (early, deliveries(conn)) == ([], [Delivery(command_id="k0", attempt=1)])
