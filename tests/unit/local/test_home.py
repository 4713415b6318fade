"""Who may read a home."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from local import home as homes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    """A umask that allows everything to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Return the rights of a file or folder."""
    return path.stat().st_mode & 0o7777


def test_a_new_home_is_for_its_owner(tmp_path: Path) -> None:
    """And so are the files in it."""
    home = tmp_path / "home"
    with homes.claimed(home):
        homes.secret(home / "token.secret")

    assert mode(home) == 0o700
    assert mode(home / "lock") == 0o600
    assert mode(home / "token.secret") == 0o600


def test_a_home_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    """The home, the logs, every file; a link is not followed, and PostgreSQL's folder is left to PostgreSQL."""
    home, outside = tmp_path / "home", tmp_path / "outside"
    (home / "logs").mkdir(parents=True)
    (home / "postgres").mkdir(mode=0o750)
    for file in (home / "env", home / "logs" / "dispatcher.log", outside):
        file.touch(0o644)
    (home / "link").symlink_to(outside)

    with homes.claimed(home):
        pass

    assert mode(home) == mode(home / "logs") == 0o700
    assert mode(home / "env") == mode(home / "logs" / "dispatcher.log") == 0o600
    assert mode(outside) == 0o644
    assert mode(home / "postgres") == 0o750


def test_a_folder_of_the_whole_system_stays_open(tmp_path: Path) -> None:
    """Somebody may name /tmp: other programs need it."""
    tmp_path.chmod(0o1777)

    with homes.claimed(tmp_path):
        pass

    assert mode(tmp_path) == 0o1777
    assert mode(tmp_path / "lock") == 0o600
