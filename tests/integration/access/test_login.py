"""Log-ins: their timing reveals nothing."""

import argon2
import pytest

from dispatcher.access import login
from dispatcher.access.operators import ensure_admin
from dispatcher.errors import NotAuthenticated
from dispatcher.platform.database import Connection


def test_a_wrong_password_takes_as_long_for_a_name_that_exists_as_for_one_that_does_not(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both need one verification with Argon2id, with the same parameters; this is nearly all of the time of a log-in."""
    ensure_admin(conn, "correct horse")
    verified: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def note(hasher: argon2.PasswordHasher, stored: str, password: str) -> bool:
        verified.append(argon2.extract_parameters(stored))
        return verify(hasher, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", note)

    for username in ("admin", "nobody"):
        with pytest.raises(NotAuthenticated):
            login.log_in(conn, username, "wrong", "192.0.2.1")

    existing, unknown = verified
    assert existing == unknown
