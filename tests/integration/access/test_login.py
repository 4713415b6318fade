"""Log-ins: attempts are counted before the password is checked, and their timing reveals nothing."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest

from dispatcher.access import credentials, login, login_budgets, operators
from dispatcher.access.login_budgets import FREE_ATTEMPTS, SHARED, VERIFICATIONS_AT_ONCE
from dispatcher.access.operators import NewOperator, ensure_admin
from dispatcher.access.roles import Operator, Role
from dispatcher.errors import DispatcherError, NotAuthenticated, TooManyAttempts
from dispatcher.platform.database import Connection, open_connection
from tests.rows import create_operator

RIGHT, WRONG = "correct horse", "wrong"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
Attempt = Callable[..., str]


@pytest.fixture(autouse=True)
def _token_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_SECRET", "7" * 64)


@pytest.fixture
def attempt(database_url: str) -> Iterator[Attempt]:
    """Try to log in, on a connection of the thread's own; return what came."""
    own = threading.local()
    opened: list[Connection] = []

    def connection() -> Connection:
        if not hasattr(own, "conn"):
            own.conn = open_connection(database_url)
            opened.append(own.conn)
        conn: Connection = own.conn
        return conn

    def run(number: int = 0, /, username: str = "admin", password: str = WRONG, address: str = HERE) -> str:
        del number  # of the attempt, for a pool
        try:
            login.log_in(connection(), username, password, address)
        except NotAuthenticated:
            return "refused"
        except TooManyAttempts:
            return "not evaluated"
        return "in"

    yield run
    for conn in opened:
        conn.close()


def test_a_wrong_password_takes_as_long_for_a_name_that_exists_as_for_one_that_does_not(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both need one verification with Argon2id, with the same parameters; this is nearly all of the time of a log-in."""
    ensure_admin(conn, RIGHT)
    verified: list[argon2.Parameters] = []
    verify = argon2.PasswordHasher.verify

    def note(hasher: argon2.PasswordHasher, stored: str, password: str) -> bool:
        verified.append(argon2.extract_parameters(stored))
        return verify(hasher, stored, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", note)

    for username in ("admin", "nobody"):
        with pytest.raises(NotAuthenticated):
            login.log_in(conn, username, "wrong", HERE)

    existing, unknown = verified
    assert existing == unknown


def test_of_many_wrong_passwords_in_parallel_exactly_the_free_ones_are_evaluated(
    conn: Connection, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are refused although none of the first has failed yet when they arrive."""
    ensure_admin(conn, RIGHT)
    evaluated: list[str] = []
    matches = credentials.password_matches

    def count(stored: str | None, password: str) -> bool:
        evaluated.append(password)
        return matches(stored, password)

    monkeypatch.setattr(credentials, "password_matches", count)
    # No pause ends during the test, however slow the machine is.
    monkeypatch.setattr(login_budgets, "FIRST_PAUSE_SECONDS", 900.0)

    with ThreadPoolExecutor(40) as pool:
        answers = Counter(pool.map(attempt, range(40)))

    assert len(evaluated) == FREE_ATTEMPTS
    assert answers == {"refused": FREE_ATTEMPTS, "not evaluated": 40 - FREE_ATTEMPTS}


def test_right_passwords_in_parallel_all_succeed(conn: Connection, attempt: Attempt) -> None:
    """An attempt that waits for its turn is no failure."""
    ensure_admin(conn, RIGHT)

    def right(_: int) -> str:
        return attempt(password=RIGHT)

    with ThreadPoolExecutor(12) as pool:
        answers = Counter(pool.map(right, range(24)))

    assert answers == {"in": 24}


def test_a_name_has_to_wait_at_an_address_and_nowhere_else(conn: Connection, attempt: Attempt) -> None:
    """The answer does not reveal whether the password was right; after the pause one more attempt counts."""
    ensure_admin(conn, RIGHT)
    for _ in range(FREE_ATTEMPTS):
        assert attempt() == "refused"

    with pytest.raises(TooManyAttempts) as waits:
        login.log_in(conn, "admin", RIGHT, HERE)
    assert 1 <= int(waits.value.headers["Retry-After"]) <= 10
    assert attempt(username=" admin ") == "not evaluated", "the name has one form"
    assert attempt(password=RIGHT, address=ELSEWHERE) == "in"
    conn.execute("update login_budgets set last_at = last_at - interval '10 s'")
    assert attempt() == "refused"
    with pytest.raises(TooManyAttempts) as waits:
        login.log_in(conn, "admin", RIGHT, HERE)
    assert 10 < int(waits.value.headers["Retry-After"]) <= 20, "the pause doubles"
    conn.execute("update login_budgets set last_at = last_at - interval '20 s'")
    assert attempt(password=RIGHT) == "in"
    assert attempt() == "refused", "a success forgets the failures"


def test_many_names_from_one_address_are_stopped_and_a_known_one_still_comes_in(
    conn: Connection, attempt: Attempt
) -> None:
    """Whoever tries one password with every name; who has logged in from there before is not locked out by it."""
    ensure_admin(conn, RIGHT)
    create_operator(conn, "eve", RIGHT, Role.READER)
    assert attempt(password=RIGHT) == "in"

    answers = Counter(attempt(username=f"name-{number}") for number in range(80))

    most, _ = SHARED["address"]
    assert most <= answers["refused"] < 2 * most
    assert answers["refused"] + answers["not evaluated"] == 80
    conn.execute("update login_budgets set level = 1000 where budget = 'address'")
    assert attempt(0, "eve", RIGHT) == "not evaluated"
    assert attempt(0, "eve", RIGHT, ELSEWHERE) == "in"
    assert attempt(password=RIGHT) == "in"


def test_one_name_from_many_addresses_is_stopped_and_its_owner_still_comes_in(
    conn: Connection, attempt: Attempt
) -> None:
    """An attacker with many addresses can guess slowly, and cannot lock the owner out where the owner was before."""
    ensure_admin(conn, RIGHT)
    assert attempt(password=RIGHT) == "in"
    most, _ = SHARED["name"]

    answers = Counter(attempt(address=f"203.0.113.{number}") for number in range(most + 20))

    assert most <= answers["refused"] < most + 20
    assert answers["not evaluated"] > 0
    assert attempt(password=RIGHT) == "in"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 1000, "x" * 64),
    ],
)
def test_the_addresses_of_one_machine_count_as_one(address: str, network: str) -> None:
    """Of IPv6 it has a whole /64."""
    assert login_budgets.network_of(address) == network


def test_only_so_many_passwords_are_checked_at_a_time(
    conn: Connection, database_url: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one is told to come again, and a check that ends makes room."""
    ensure_admin(conn, RIGHT)
    inside = threading.Barrier(VERIFICATIONS_AT_ONCE + 1, timeout=60)
    go_on = threading.Event()
    matches = credentials.password_matches

    def slowly(stored: str | None, password: str) -> bool:
        if password == "slow":
            inside.wait()
            assert go_on.wait(60)
        return matches(stored, password)

    monkeypatch.setattr(credentials, "password_matches", slowly)
    with ThreadPoolExecutor(VERIFICATIONS_AT_ONCE) as pool:
        busy = [
            pool.submit(attempt, 0, f"name-{number}", "slow", f"203.0.113.{number}")
            for number in range(VERIFICATIONS_AT_ONCE)
        ]
        inside.wait()

        with open_connection(database_url) as other, pytest.raises(TooManyAttempts) as refused:
            login.log_in(other, "admin", RIGHT, HERE)
        go_on.set()

        assert [each.result() for each in busy] == ["refused"] * VERIFICATIONS_AT_ONCE
    assert refused.value.headers["Retry-After"] == "1"
    assert attempt(password=RIGHT) == "in"


def test_a_token_of_a_log_in_that_overlaps_a_change_of_the_password_is_dead(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password was checked before the change and the token is asked for after it."""
    ensure_admin(conn, RIGHT)
    create_operator(conn, "eve", RIGHT, Role.READER)
    matches = credentials.password_matches
    admin = Operator(username="admin", role=Role.ADMIN)
    changed = NewOperator(username="eve", password="changed meanwhile", role=Role.READER, scope=None)

    def overtaken(stored: str | None, password: str) -> bool:
        result = matches(stored, password)
        monkeypatch.setattr(credentials, "password_matches", matches)
        with open_connection(database_url) as other:
            operators.put(other, changed, admin)
        return result

    monkeypatch.setattr(credentials, "password_matches", overtaken)

    with pytest.raises(DispatcherError) as refused:
        login.log_in(conn, "eve", RIGHT, HERE)

    assert isinstance(refused.value, NotAuthenticated)


def test_log_ins_are_in_the_audit_log_and_unknown_names_are_not(conn: Connection, attempt: Attempt) -> None:
    """An unknown name may be a password, or look like another actor."""
    ensure_admin(conn, RIGHT)

    attempt(0, "nobody at all")
    attempt()
    attempt(password=RIGHT)

    entries = conn.execute(
        "select actor, action, source_ip from audit_log where action like 'log in%' order by audit_id"
    )
    assert entries.fetchall() == [("admin", "log in refused", HERE), ("admin", "log in", HERE)]


def test_a_name_of_before_the_rules_still_logs_in(conn: Connection, attempt: Attempt) -> None:
    """As it is stored; a new name is found with spaces around it too."""
    for name in ("Zoë Müller", "agent x", "eve"):
        create_operator(conn, name, RIGHT, Role.READER)

    assert attempt(0, "Zoë Müller", RIGHT) == "in"
    assert attempt(0, "Zoe\N{COMBINING DIAERESIS} Mu\N{COMBINING DIAERESIS}ller", RIGHT) == "in"
    assert attempt(0, "agent x", RIGHT) == "in"
    assert attempt(0, " eve\n", RIGHT) == "in"


def test_budgets_that_no_longer_count_are_deleted(conn: Connection, attempt: Attempt) -> None:
    """Those of names that log in stay for longer."""
    ensure_admin(conn, RIGHT)
    attempt(password=RIGHT)
    attempt(0, "nobody")
    assert login_budgets.prune(conn, 100) == 0
    conn.execute("update login_budgets set last_at = now() - interval '25 hours'")

    login_budgets.prune(conn, 100)

    left = conn.execute("select budget, subject from login_budgets").fetchall()
    assert left == [("pair", f"{HERE} admin")]
