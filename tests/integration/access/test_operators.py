"""Operators: names have one form, and somebody can always manage operators."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.access import api_tokens, authentication, login, operators
from dispatcher.access.operators import NewOperator, ensure_admin
from dispatcher.access.roles import Operator, Role
from dispatcher.agents import enrolment_tokens
from dispatcher.agents.enrolment_tokens import NewEnrolmentToken
from dispatcher.errors import Conflict, NotAuthenticated, Unprocessable
from dispatcher.platform.database import Connection, open_connection
from tests.function_environment import function_environment
from tests.rows import create_operator

PASSWORD = "long enough it is"
ADMIN = Operator(username="admin", role=Role.ADMIN)
EU = {"region": "eu"}


def new(name: str, role: Role = Role.ADMIN, labels: dict[str, str] | None = None) -> NewOperator:
    """Return an operator to create or to change."""
    return NewOperator(username=name, password=PASSWORD, role=role, scope=labels)


def unlimited_admins(conn: Connection) -> int:
    """Count the operators who can manage operators."""
    row = conn.execute(
        "select count(*) from operators where role = 'admin' and labels is null and disabled_at is null"
    ).fetchone()
    assert row is not None
    count: int = row[0]
    return count


@pytest.mark.parametrize("change", [new("admin", Role.READER), new("admin", Role.SENDER), new("admin", labels=EU)])
def test_the_last_unlimited_admin_cannot_be_demoted_or_limited(conn: Connection, change: NewOperator) -> None:
    """The refusal says why; an admin of one region does not count; with another one it works."""
    ensure_admin(conn, PASSWORD)
    operators.put(conn, new("regional", labels=EU), ADMIN)

    with pytest.raises(Conflict, match="last admin without a label limit"):
        operators.put(conn, change, ADMIN)
    assert unlimited_admins(conn) == 1

    operators.put(conn, new("second"), ADMIN)
    operators.put(conn, change, ADMIN)
    assert unlimited_admins(conn) == 1


def test_the_last_unlimited_admin_cannot_be_disabled(conn: Connection) -> None:
    """Not by an operator of an OpenID Connect issuer either, who has no account here."""
    ensure_admin(conn, PASSWORD)
    stranger = Operator(username="oidc:u1", role=Role.ADMIN)

    with pytest.raises(Conflict, match="last admin"):
        operators.disable(conn, "admin", stranger)

    assert unlimited_admins(conn) == 1


def test_admins_who_demote_each_other_at_the_same_moment_leave_one(conn: Connection, database_url: str) -> None:
    """Each was an admin when the request began."""
    names = [f"admin-{number}" for number in range(6)]
    for name in names:
        create_operator(conn, name, PASSWORD, Role.ADMIN)
    at_once = threading.Barrier(len(names), timeout=60)

    def demote(number: int) -> bool:
        by = Operator(username=names[number], role=Role.ADMIN)
        other = names[(number + 1) % len(names)]
        with open_connection(database_url) as own:
            at_once.wait()
            try:
                if number % 2:
                    operators.disable(own, other, by)
                else:
                    operators.put(own, new(other, Role.READER), by)
            except Conflict:
                return False
        return True

    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(demote, range(len(names))))

    assert done.count(True) == len(names) - 1
    assert unlimited_admins(conn) == 1


@pytest.mark.parametrize(
    ("damage", "changed"),
    [
        ("role = 'reader'", ["role"]),
        ("disabled_at = now()", ["enabled"]),
        ('labels = \'{"region": "eu"}\'', ["labels"]),
        ("password_hash = 'unknown'", ["password"]),
        ("role = 'sender', labels = '{}', disabled_at = now()", ["enabled", "role", "labels"]),
    ],
)
def test_a_restart_lets_the_owner_in_and_says_so_in_the_audit_log(
    conn: Connection, damage: str, changed: list[str]
) -> None:
    """Whatever was done to the account; a restart that changes nothing adds no entry."""
    ensure_admin(conn, PASSWORD)
    assert not ensure_admin(conn, PASSWORD)
    conn.execute(f"update operators set {damage} where username = 'admin'".encode())

    assert ensure_admin(conn, PASSWORD)

    assert not ensure_admin(conn, PASSWORD)
    assert unlimited_admins(conn) == 1
    entries = conn.execute("select actor, action, detail -> 'changed' from audit_log order by audit_id").fetchall()
    assert entries == [("system", "restore admin", ["created"]), ("system", "restore admin", changed)]


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "agent x",
        "agent",
        "System",
        "oidc",
        "oidc:u1",
        "аdmin",  # noqa: RUF001 - Cyrillic
        "ａｄｍｉｎ",  # noqa: RUF001 - full width
        "adm\u200bin",
        "admin\u202e",
        "ad\nmin",
        "admin\x1b[31m",
        "Zoë",
        "-admin",
        "x" * 129,
        "a/b",
    ],
)
def test_a_name_that_looks_like_another_actor_is_refused(conn: Connection, name: str) -> None:
    """Or that a list, a log or a terminal could show as something else."""
    with pytest.raises(Unprocessable):
        operators.put(conn, new(name), ADMIN)

    assert conn.execute("select count(*) from operators").fetchone() == (0,)


@pytest.mark.parametrize("name", ["eve", "Eve", "eve@example.org", "eve+ci", "a.b-c_d", "7", "x" * 128])
def test_ordinary_names_are_accepted_and_spaces_around_them_dropped(conn: Connection, name: str) -> None:
    """Each name is stored in its one form."""
    assert operators.put(conn, new(f" {name}\n"), ADMIN).username == name
    assert operators.put(conn, new(name), ADMIN).username == name


def test_two_names_do_not_differ_only_in_upper_and_lower_case(conn: Connection) -> None:
    """Readers of the audit log would take them for one."""
    operators.put(conn, new("eve"), ADMIN)

    with pytest.raises(Conflict, match="eve"):
        operators.put(conn, new("Eve"), ADMIN)


def test_an_operator_with_a_name_of_before_the_rules_can_be_changed_and_disabled(conn: Connection) -> None:
    """They need not be made anew."""
    ensure_admin(conn, PASSWORD)
    create_operator(conn, "Zoë Müller", PASSWORD, Role.ADMIN)

    assert operators.put(conn, new("Zoë Müller", Role.READER), ADMIN).role == "reader"
    operators.disable(conn, "Zoë Müller", ADMIN)

    account = operators.get(conn, "Zoë Müller")
    assert account is not None
    assert account.disabled_at is not None


@pytest.fixture
def _settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of a function that authenticates callers."""
    monkeypatch.setenv("TOKEN_SECRET", "7" * 64)
    with function_environment(database_url, monkeypatch):
        yield


@pytest.mark.usefixtures("_settings")
def test_of_tokens_that_are_made_while_rights_end_none_survives(conn: Connection, database_url: str) -> None:
    """Each is made after the operator was authenticated, and before the change is committed or after it."""
    ensure_admin(conn, PASSWORD)
    create_operator(conn, "eve", PASSWORD, Role.SENDER)
    token = login.log_in(conn, "eve", PASSWORD, "192.0.2.1").token
    eve = authentication.operator_of(f"Bearer {token}", "192.0.2.1")
    makers = 4
    start = threading.Barrier(makers + 1, timeout=60)

    def make(_: int) -> list[str]:
        """Make tokens until the operator may make no more."""
        made: list[str] = []
        with open_connection(database_url) as own:
            start.wait()
            with contextlib.suppress(NotAuthenticated):
                while True:
                    made.append(api_tokens.create(own, "ci", Role.READER, 600, eve)[1])
        return made

    with ThreadPoolExecutor(makers) as pool:
        making = pool.map(make, range(makers))
        start.wait()
        operators.put(conn, new("eve", Role.READER), ADMIN)
        secrets = [secret for made in making for secret in made]

    for secret in secrets:
        with pytest.raises(NotAuthenticated):
            authentication.operator_of(f"Bearer {secret}", "192.0.2.1")


@pytest.mark.usefixtures("_settings")
def test_what_is_made_after_the_rights_ended_is_refused(conn: Connection) -> None:
    """By an operator who was authenticated before: a token, another operator, or an enrolment token."""
    ensure_admin(conn, PASSWORD)
    create_operator(conn, "eve", PASSWORD, Role.ADMIN)
    token = login.log_in(conn, "eve", PASSWORD, "192.0.2.1").token
    eve = authentication.operator_of(f"Bearer {token}", "192.0.2.1")
    invitation = NewEnrolmentToken(
        agent_id=None, prefix="e-", labels={}, approved=True, uses=1, ttl_seconds=60, reusable=False
    )
    operators.put(conn, new("eve", Role.READER), ADMIN)

    with pytest.raises(NotAuthenticated):
        api_tokens.create(conn, "ci", Role.ADMIN, 60, eve)
    with pytest.raises(NotAuthenticated):
        operators.put(conn, new("mallory"), eve)
    with pytest.raises(NotAuthenticated):
        operators.disable(conn, "admin", eve)
    with pytest.raises(NotAuthenticated):
        enrolment_tokens.create(conn, invitation, eve)
