"""The environment of a function that has not run yet."""

import contextlib
from collections.abc import Generator

import pytest

from dispatcher.platform import database


@contextlib.contextmanager
def function_environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Let the layer open its own connection to a database, as in a new process; close it at the end."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr(database, "_kept", None)
    yield
    kept = database._kept  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the environment ends here
    if kept is not None:
        kept.close()
