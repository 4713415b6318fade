"""Waiting for the database has an end, so that what an agent said can be kept before the worker is killed."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from dispatcher.commands import conversation, late_reports, reports
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from tests.fakes import FakeGateway
from tests.function_environment import function_environment
from tests.rows import connect_new_agent, put, statuses, waits_for_lock


@pytest.fixture(autouse=True)
def _environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a function that has not run yet."""
    with function_environment(database_url, monkeypatch):
        yield


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds; fail after less time than the lock timeout takes."""
    end = time.monotonic() + 4
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_statement_that_takes_too_long_is_an_interruption() -> None:
    """The environment's connection works again after it."""
    with pytest.raises(database.INTERRUPTIONS), database.within(0.1), database.connect() as conn:
        conn.execute("select pg_sleep(60)")

    with database.connect() as conn:
        assert conn.execute("select 1").fetchone() == (1,)


def test_work_that_has_no_time_left_is_not_repeated() -> None:
    """The caller's time has passed, whatever the database does."""
    tries: list[int] = []

    def work(conn: Connection) -> None:
        tries.append(1)
        conn.execute("select pg_sleep(60)")

    with pytest.raises(psycopg.OperationalError), database.within(2):  # a log-in on a busy machine takes a part of it
        database.persistently(work)

    assert len(tries) == 1


def test_nothing_is_interrupted_after_the_time_was_enough() -> None:
    """A later statement of the same worker has its own time."""
    with database.within(0.2):
        pass

    time.sleep(0.3)


def test_outside_of_the_main_thread_there_is_no_limit() -> None:
    """Only the main thread gets signals."""
    done: list[int] = []

    def work() -> None:
        with database.within(0.01):
            time.sleep(0.1)
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert done == [1]


def test_a_statement_ends_with_its_client(conn: Connection, database_url: str) -> None:
    """A function that was killed while it waited for a lock must not claim what nobody will post."""
    connect_new_agent(conn)
    killed = database.open_connection(database_url)
    pid = killed.info.backend_pid
    with psycopg.connect(database_url) as other:
        other.execute("select from agents for update")
        killed.pgconn.send_query(b"update agents set live = true")
        until(lambda: waits_for_lock(conn, killed))

        with socket.socket(fileno=os.dup(killed.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)

        until(lambda: conn.execute("select from pg_stat_activity where pid = %s", (pid,)).rowcount == 0)
    killed.close()


def test_a_statement_that_was_given_up_is_ended(conn: Connection, database_url: str) -> None:
    """Its caller has answered: it must change nothing any more."""
    connect_new_agent(conn)
    with psycopg.connect(database_url) as other:
        other.execute("select from agents for update")
        with pytest.raises(database.TimeUpError), database.within(0.2), database.connect() as mine:
            mine.execute("update agents set live = false")

        until(lambda: conn.execute("select from pg_locks where not granted").rowcount == 0)

    assert conn.execute("select live from agents").fetchone() == (True,)


def test_a_message_that_waited_for_long_claims_nothing(conn: Connection, database_url: str) -> None:
    """I3: whoever waited has kept it meanwhile, and posts nothing; the attempt would count."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    put(conn, "k2")
    said = Said(agent_id="a1", connection_id="c1", text='{"type": "complete", "payload": {"commandId": "k1"}}')
    with (
        database.open_connection(database_url) as late,
        ThreadPoolExecutor() as threads,
        psycopg.connect(database_url) as other,
    ):
        other.execute("select from agent_commands where command_id = 'k1' for update")
        receiving = threads.submit(reports.receive, late, said, SessionStates())
        time.sleep(3.1)
        other.commit()
        received = receiving.result()

    assert received.claim is None
    assert statuses(conn) == {"k1": "completed", "k2": "pending"}


def test_a_report_about_a_row_that_stays_locked_is_kept(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I17: a worker that waits for the lock until its own end loses the report."""
    connect_new_agent(conn)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    kept: list[Said] = []
    monkeypatch.setenv("LATE_REPORTS_QUEUE_URL", "https://sqs.example/late")

    def keep(said: Said, _event_id: str) -> None:
        kept.append(said)

    monkeypatch.setattr(late_reports, "keep", keep)
    said = Said(agent_id="a1", connection_id="c1", text='{"type": "complete", "payload": {"commandId": "k1"}}')
    deadline = time.monotonic() + late_reports.KEEP_SECONDS + 0.2

    with psycopg.connect(database_url) as other:
        other.execute("select from agent_commands for update")
        conversation.handle(said, "event", FakeGateway(), SessionStates(), lambda: deadline - time.monotonic())

    assert kept == [said]
    assert time.monotonic() < deadline
