"""A database of an earlier release takes the new schema files, and keeps its data."""

from importlib import resources

import pytest

from dispatcher.commands.loss_check import check_for_loss
from dispatcher.platform.database import Connection
from dispatcher.platform.migrations import REWORDED, migrate
from tests.rows import create_agent, put


@pytest.fixture
def first_release(conn: Connection) -> Connection:
    """A database with the schema of the first release."""
    conn.execute("drop schema public cascade")
    conn.execute("create schema public")
    conn.execute(
        "create table schema_migrations"
        " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
    )
    folder = resources.files("dispatcher") / "schema"
    for name, checksum in REWORDED.items():
        conn.execute((folder / name).read_bytes())
        conn.execute("insert into schema_migrations (name, checksum) values (%s, %s)", (name, checksum))
    return conn


def test_a_database_of_the_first_release_gets_only_the_new_files(first_release: Connection) -> None:
    """The comments of its files were reworded since; their statements are the same."""
    assert migrate(first_release) == ["0003_readable.sql"]
    assert migrate(first_release) == []


def test_earlier_changes_by_hand_are_marked_as_made_by_hand(first_release: Connection) -> None:
    """The first release inferred them from the text of the cause; the loss check accepts them after the upgrade too."""
    create_agent(first_release)
    put(first_release, "k1")
    first_release.execute("update agent_commands set status = 'completed'")
    first_release.execute("update agent_commands set status = 'pending', completed_at = null")

    migrate(first_release)

    history = first_release.execute("select to_status, by_hand from command_history order by history_id").fetchall()
    assert history == [("pending", False), ("completed", True), ("pending", True)]
    assert check_for_loss(first_release).clean


def test_a_file_that_was_changed_after_it_had_been_applied_stops_the_migration(first_release: Connection) -> None:
    """Only the checksums that are known are accepted."""
    first_release.execute("update schema_migrations set checksum = 'another' where name = '0001_dispatcher.sql'")

    with pytest.raises(RuntimeError, match=r"0001_dispatcher\.sql was changed"):
        migrate(first_release)
