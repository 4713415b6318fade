"""A database that has only the first schema files is upgraded, and keeps its data."""

from importlib import resources

import pytest

from dispatcher.access import api_tokens
from dispatcher.commands import command_lists, overview
from dispatcher.commands.command_lists import Filter
from dispatcher.commands.loss_check import check_for_loss
from dispatcher.platform.database import Connection
from dispatcher.platform.migrations import REWORDED, migrate
from tests.rows import create_agent, put


@pytest.fixture
def earlier_database(conn: Connection) -> Connection:
    """A database with the first two schema files, applied before their comments were reworded."""
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


def test_an_earlier_database_gets_only_the_new_files(earlier_database: Connection) -> None:
    """The comments of its files were reworded since; the statements are the same."""
    files = (resources.files("dispatcher") / "schema").iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".sql"))

    assert migrate(earlier_database) == [name for name in names if name not in REWORDED]
    assert migrate(earlier_database) == []


def test_earlier_changes_by_hand_are_marked_as_made_by_hand(earlier_database: Connection) -> None:
    """They were inferred from the text of the cause; the loss check accepts them after the upgrade too."""
    create_agent(earlier_database)
    put(earlier_database, "k1")
    earlier_database.execute("update agent_commands set status = 'completed'")
    earlier_database.execute("update agent_commands set status = 'pending', completed_at = null")

    migrate(earlier_database)

    history = earlier_database.execute("select to_status, by_hand from command_history order by history_id").fetchall()
    assert history == [("pending", False), ("completed", True), ("pending", True)]
    assert check_for_loss(earlier_database).clean


def test_operators_and_tokens_of_before_the_upgrade_stay_valid(earlier_database: Connection) -> None:
    """The upgrade takes no right away."""
    earlier_database.execute("insert into operators (username, password_hash, role) values ('eve', 'h', 'admin')")
    earlier_database.execute(
        "insert into api_tokens (username, name, token_hash, role, expires_at)"
        " values ('eve', 'ci', sha256(''), 'admin', now() + interval '1 hour')"
    )

    migrate(earlier_database)

    tokens = api_tokens.list_valid(earlier_database, "eve", after=0, limit=10)
    assert [token.name for token in tokens] == ["ci"]


def test_commands_of_before_the_upgrade_are_listed_and_counted(earlier_database: Connection) -> None:
    """The lists and the overview have tables of their own, which start with what there is."""
    create_agent(earlier_database)
    put(earlier_database, "k1", action="deploy", created_at="2026-01-02", submitted_by="eve")
    put(earlier_database, "k2", action="deploy", created_at="2026-01-01", status="completed")

    migrate(earlier_database)

    found = command_lists.find(earlier_database, scope=None, wanted=Filter(action="deploy"), limit=5)
    assert found.ids == ["k1", "k2"]
    counted = overview.read(earlier_database, None).commands
    assert {status: number for status, number in counted.items() if number} == {"pending": 1, "completed": 1}


def test_a_file_that_was_changed_after_it_had_been_applied_stops_the_migration(earlier_database: Connection) -> None:
    """Only the checksums that are known are accepted."""
    earlier_database.execute("update schema_migrations set checksum = 'another' where name = '0001_dispatcher.sql'")

    with pytest.raises(RuntimeError, match=r"0001_dispatcher\.sql was changed"):
        migrate(earlier_database)


def test_a_new_database_keeps_the_checksums_that_older_code_knows(conn: Connection) -> None:
    """After a rollback the older code finds its own files unchanged."""
    applied: dict[str, str] = dict(conn.execute("select name, checksum from schema_migrations").fetchall())

    assert REWORDED.items() <= applied.items()
    assert migrate(conn) == []
