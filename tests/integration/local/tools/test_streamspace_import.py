"""Importing a StreamSpace table: its columns, NULLs everywhere, `ack`, times without a zone."""

import os
import subprocess
import sys
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from dispatcher.commands.delivery import deliver
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.platform.database import Connection
from local.tools.streamspace_import import Moved, move
from tests.fakes import FakeGateway
from tests.rows import connect, create_agent

SOURCE = "streamspace.agent_commands"
NULLABLE = (
    "session_id",
    "payload",
    "status",
    "error_message",
    "created_at",
    "sent_at",
    "acknowledged_at",
    "completed_at",
)
FULL: dict[str, Any] = {
    "session_id": "admin-firefox-browser-1edf5ee9",
    "payload": '{"sessionId": "admin-firefox-browser-1edf5ee9"}',
    "status": "completed",
    "error_message": "none",
    "created_at": "2025-11-22 06:16:33.123456",
    "sent_at": "2025-11-22 06:16:38",
    "acknowledged_at": "2025-11-22 06:16:38.5",
    "completed_at": "2025-11-22 06:16:40",
}


@pytest.fixture
def streamspace(conn: Connection) -> Connection:
    """The table of StreamSpace v2: all but three columns are nullable, times have no zone, ids are its own."""
    conn.execute(
        """
        create schema streamspace;
        create table streamspace.agent_commands (
            id uuid primary key default gen_random_uuid(),
            command_id varchar(255) unique not null,
            agent_id varchar(255) not null,
            session_id varchar(255),
            action varchar(50) not null,
            payload jsonb,
            status varchar(50) default 'pending',
            error_message text,
            created_at timestamp default now(),
            sent_at timestamp,
            acknowledged_at timestamp,
            completed_at timestamp,
            updated_at timestamp default now()
        )"""
    )
    return conn


def put(conn: Connection, command_id: str, **columns: Any) -> None:
    """Put a row into StreamSpace's table."""
    columns = {"command_id": command_id, "agent_id": "a1", "action": "stop_session", **columns}
    statement = sql.SQL("insert into streamspace.agent_commands ({}) values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    )
    conn.execute(statement, list(columns.values()))


def moved_row(conn: Connection, command_id: str, columns: LiteralString) -> tuple[Any, ...]:
    """Read columns of a moved row."""
    row = conn.execute(f"select {columns} from agent_commands where command_id = %s", (command_id,)).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("there", "here", "cause"),
    [
        ("pending", "pending", "moved from StreamSpace, where it was pending"),
        ("sent", "pending", "moved from StreamSpace, where it was sent"),
        ("ack", "acknowledged", "moved from StreamSpace, where it was ack"),
        ("completed", "completed", "moved from StreamSpace, where it was completed"),
        ("failed", "failed", "moved from StreamSpace, where it was failed"),
        (None, "pending", "moved from StreamSpace, where it was without a status"),
        ("queued", "dead", 'set aside: unknown status "queued"'),
    ],
)
def test_each_status_is_translated(streamspace: Connection, there: str | None, here: str, cause: str) -> None:
    """`ack` becomes acknowledged; a sent command without an ack is due again; the history names the old status."""
    put(streamspace, "k1", status=there)

    assert move(streamspace, SOURCE).statuses == {here: 1}

    history = streamspace.execute("select from_status, to_status, cause from command_history").fetchall()
    assert history == [(None, here, cause)]


@pytest.mark.parametrize("column", NULLABLE)
@pytest.mark.parametrize("status", ["pending", "sent", "ack", "completed", "failed"])
def test_a_row_with_null_in_any_column_is_moved(streamspace: Connection, column: str, status: str) -> None:
    """NULLs are the bug that this project began with."""
    put(streamspace, "whole", **FULL)
    put(streamspace, "holed", **{**FULL, "status": status, column: None})
    put(streamspace, "bare", status=None, created_at=None)

    moved = move(streamspace, SOURCE)

    assert (sum(moved.statuses.values()), moved.known, moved.unusable) == (3, 0, 0)
    assert moved_row(streamspace, "bare", "session_id, payload, error_message, sent_at, completed_at") == (None,) * 5
    assert check_for_loss(streamspace).clean


def test_times_without_a_zone_are_read_in_the_given_zone(streamspace: Connection) -> None:
    """Exact to the microsecond; in winter Berlin is one hour ahead of UTC."""
    put(streamspace, "k1", **FULL)

    move(streamspace, SOURCE, timezone="Europe/Berlin")

    times = moved_row(streamspace, "k1", "created_at at time zone 'UTC', completed_at at time zone 'UTC'")
    assert [str(time) for time in times] == [
        "2025-11-22 05:16:33.123456",
        "2025-11-22 05:16:40",
    ]


def test_old_commands_are_moved_as_expired(streamspace: Connection) -> None:
    """StreamSpace kept them as pending for ever; a session of last year must not be stopped now."""
    put(streamspace, "old", created_at="2025-11-22 06:16:33")
    put(streamspace, "young")

    moved = move(streamspace, SOURCE)

    assert moved.statuses == {"expired": 1, "pending": 1}
    assert moved_row(streamspace, "old", "error_message") == ("not delivered before the move from StreamSpace",)
    assert move(streamspace, SOURCE, deliver_hours=1e6) == Moved(statuses={}, known=2, unusable=0)


def test_it_can_be_run_again(streamspace: Connection) -> None:
    """Changes in the dispatcher are kept; new rows of StreamSpace are moved."""
    put(streamspace, "k1")
    move(streamspace, SOURCE)
    streamspace.execute("update agent_commands set status = 'cancelled', completed_at = now(), cause = 'by hand'")
    put(streamspace, "k2")

    assert move(streamspace, SOURCE) == Moved(statuses={"pending": 1}, known=1, unusable=0)
    assert moved_row(streamspace, "k1", "status") == ("cancelled",)


def test_moved_commands_are_delivered_in_their_original_order(streamspace: Connection) -> None:
    """The order of the rows in the table does not matter."""
    create_agent(streamspace)
    for number in (3, 1, 2):
        put(streamspace, f"k{number}", payload=f'{{"n": {number}}}')
        streamspace.execute(
            "update streamspace.agent_commands set created_at = (now() at time zone 'UTC') - %s * interval '1 minute'"
            " where command_id = %s",
            (10 - number, f"k{number}"),
        )
    move(streamspace, SOURCE)
    connect(streamspace, window=10)
    gateway = FakeGateway()

    deliver(streamspace, gateway, "a1", lambda: 60.0)

    order = streamspace.execute("select command_id from agent_commands order by seq").fetchall()
    assert order == [("k1",), ("k2",), ("k3",)]
    assert '"n": 1' in gateway.frames[0][1]  # one at a time: the others wait for its ack


def test_an_older_version_of_the_table_is_moved_too(conn: Connection) -> None:
    """Fewer columns, times with a zone, a payload that is text and not JSON, rows without an id, agent or action."""
    conn.execute(
        """
        create schema streamspace;
        create table streamspace.agent_commands (
            command_id text, agent_id uuid, action text, payload text, status text,
            created_at timestamptz, sent_at timestamptz);
        insert into streamspace.agent_commands values
            ('k1', gen_random_uuid(), 'stop_session', 'map[sessionId:sess-1]', 'sent', now(), now() - interval '1 hour'),
            ('k2', gen_random_uuid(), 'stop_session', '{"a": 1}', 'pending', 'infinity', '-infinity'),
            (null, gen_random_uuid(), 'stop_session', null, null, null, null),
            ('k4', null, 'stop_session', null, null, null, null),
            ('k5', gen_random_uuid(), null, null, null, null, null)
        """
    )

    assert move(conn, SOURCE) == Moved(statuses={"pending": 2}, known=0, unusable=3)

    assert moved_row(conn, "k1", "payload, attempt") == ("map[sessionId:sess-1]", 1)
    assert moved_row(conn, "k2", "payload, attempt, sent_at") == ({"a": 1}, 0, None)
    assert check_for_loss(conn).clean


def test_nothing_is_moved_after_an_error(streamspace: Connection) -> None:
    """It is one transaction; the error names an unknown zone."""
    put(streamspace, "k1")

    with pytest.raises(psycopg.Error, match="Mars"):
        move(streamspace, SOURCE, timezone="Mars/Olympus")
    assert streamspace.execute("select count(*) from agent_commands").fetchone() == (0,)


def test_the_command_prints_what_it_did(streamspace: Connection, database_url: str) -> None:
    """An operator runs it like this."""
    put(streamspace, "k1", status="ack")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "local.tools.streamspace_import", *arguments],
            env={**os.environ, "DATABASE_URL": database_url},
            capture_output=True,
            text=True,
            check=False,
        )

    done, failed = run("--source", SOURCE), run("--source", "nowhere.agent_commands")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["1", "acknowledged"]), done.stderr
    assert failed.returncode == 1
    assert "nowhere" in failed.stderr
