"""`make migrate`: the schema from a shell."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from local.tools import migrate


def test_a_shell_applies_what_is_missing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A deployment after it has nothing left to do."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delenv("DATABASE_ROLE", raising=False)

    assert migrate.main() == 0
    assert capsys.readouterr().out == "Applied: nothing, the schema is up to date.\n"


def test_a_shell_says_why_nothing_was_applied(
    new_database: Callable[[], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An unset address, and a database that another schema has changed."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert migrate.main() == 1
    with new_database() as url:
        monkeypatch.setenv("DATABASE_URL", f"{url}_none")
        assert migrate.main() == 1
    errors = capsys.readouterr().err
    assert "DATABASE_URL is not set" in errors
    assert "does not exist" in errors
