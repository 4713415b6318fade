"""Operators: created, limited by labels, disabled."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log, credentials, usernames
from dispatcher.access.audit_log import Actor
from dispatcher.access.credential_checks import require_unchanged
from dispatcher.access.roles import Operator, Role
from dispatcher.access.scopes import Scope, covers
from dispatcher.errors import Conflict, NotAllowed, NotFound
from dispatcher.platform.database import Connection, fetch_all, fetch_one

FIRST_ADMIN = "admin"
SYSTEM = Actor(name="system")
"""Who restores the first admin at a start or a deployment."""
# The number has no meaning, but it must never change: changes of operators wait for each other.
_ONE_AT_A_TIME = 7_305_211_905


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An operator as stored; the password only as its hash."""

    username: str
    password_hash: str
    role: str
    labels: dict[str, str] | None
    created_at: datetime
    disabled_at: datetime | None

    @property
    def is_unlimited_admin(self) -> bool:
        """Whether the account can manage operators."""
        return self.role == Role.ADMIN and self.labels is None and self.disabled_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOperator:
    """An operator to create or to change."""

    username: str
    password: str
    role: Role
    scope: Scope


_COLUMNS = "username, password_hash, role, labels, created_at, disabled_at"


def get(conn: Connection, username: str) -> Account | None:
    """Read one operator."""
    return fetch_one(conn, Account, f"select {_COLUMNS} from operators where username = %s", (username,))


def find_for_login(conn: Connection, written: str) -> Account | None:
    """Read the operator with this name, or with its normalized form: names from before the form may differ from it."""
    return fetch_one(
        conn,
        Account,
        f"""
        select {_COLUMNS}
        from operators
        where username = any (%(names)s)
        order by username = %(written)s desc
        limit 1
        """,
        {"names": [written, usernames.normalized(written)], "written": written},
    )


def list_page(conn: Connection, *, after: str, limit: int) -> list[Account]:
    """Read a page of operators, ordered by name, with a name above `after`."""
    return fetch_all(
        conn,
        Account,
        f"select {_COLUMNS} from operators where username > %s order by username limit %s",
        (after, limit),
    )


def put(conn: Connection, new: NewOperator, by: Operator) -> Account:
    """Create an operator, or give an existing one this password, role and label limit.

    Another password, a lower role, a narrower label limit, or enabling a disabled operator ends all tokens of before.  More
    rights end none.  Raises Unprocessable for a name that a new operator cannot have, Conflict if no unlimited admin would
    be left, and NotAllowed for a caller with an API token.
    """
    labels = None if new.scope is None else dict(new.scope)
    _require_no_api_token(by)
    with conn.transaction():
        _wait_for_other_changes(conn)
        require_unchanged(conn, by)
        before = _locked(conn, new.username) or _locked(conn, usernames.normalized(new.username))
        if before is None:
            name = usernames.normalized(new.username)
            usernames.require_form(name)
            _require_no_look_alike(conn, name)
            account = _insert(conn, name, new)
        else:
            account = _update(conn, before, new)
            _require_an_admin(conn, before)
        detail = {"operator": account.username, "role": new.role, "labels": labels}
        audit_log.record(conn, by.actor, "put operator", detail=detail)
    return account


def disable(conn: Connection, username: str, by: Operator) -> None:
    """Disable an operator and end their tokens.

    Raises NotFound, Conflict for an operator who would disable themselves or the last unlimited admin, and NotAllowed for a
    caller with an API token.
    """
    _require_no_api_token(by)
    if username == by.username:
        raise Conflict("You cannot disable yourself.")
    with conn.transaction():
        _wait_for_other_changes(conn)
        require_unchanged(conn, by)
        before = _locked(conn, username)
        if before is None:
            raise NotFound(f"There is no operator {username!r}.")
        conn.execute(
            """
            update operators
            set disabled_at = coalesce(disabled_at, now()),
                valid_after = clock_timestamp()
            where username = %s
            """,
            (username,),
        )
        _end_api_tokens(conn, username)
        _require_an_admin(conn, before)
        audit_log.record(conn, by.actor, "disable operator", detail={"operator": username})


def ensure_admin(conn: Connection, password: str) -> bool:
    """Let the owner in: `admin` is enabled, an admin without a label limit, with this password.  False if nothing changed."""
    wanted = NewOperator(username=FIRST_ADMIN, password=password, role=Role.ADMIN, scope=None)
    with conn.transaction():
        _wait_for_other_changes(conn)
        before = _locked(conn, FIRST_ADMIN)
        if before is None:
            changed = ["created"]
            _insert(conn, FIRST_ADMIN, wanted)
        else:
            changed = [
                what
                for what, differs in (
                    ("enabled", before.disabled_at is not None),
                    ("role", before.role != Role.ADMIN),
                    ("labels", before.labels is not None),
                    ("password", not credentials.password_matches(before.password_hash, password)),
                )
                if differs
            ]
            if not changed:
                return False
            _update(conn, before, wanted)
        audit_log.record(conn, SYSTEM, "restore admin", detail={"operator": FIRST_ADMIN, "changed": changed})
    return True


def _require_no_api_token(by: Operator) -> None:
    """Raise NotAllowed for an API token: with a password that it has set it would outlive its own end."""
    if by.token_id is not None:
        raise NotAllowed("Operators are managed after a log-in, not with an API token.")


def _wait_for_other_changes(conn: Connection) -> None:
    conn.execute("select pg_advisory_xact_lock(%s)", (_ONE_AT_A_TIME,))


def _locked(conn: Connection, username: str) -> Account | None:
    """Read and lock an operator: a log-in that is under way ends before, or waits and finds the new password."""
    return fetch_one(conn, Account, f"select {_COLUMNS} from operators where username = %s for update", (username,))


def _insert(conn: Connection, username: str, new: NewOperator) -> Account:
    account = fetch_one(
        conn,
        Account,
        f"""
        insert into operators (username, password_hash, role, labels)
        values (%s, %s, %s, %s)
        returning {_COLUMNS}
        """,
        (username, credentials.password_hash(new.password), new.role, _json(new.scope)),
    )
    assert account is not None  # noqa: S101 - an insert without a conflict clause returns its row
    return account


def _update(conn: Connection, before: Account, new: NewOperator) -> Account:
    """Change an operator whose row is locked; end their tokens unless the rights only widen."""
    same_password = credentials.password_matches(before.password_hash, new.password)
    ends = not (
        same_password
        and new.role.allows(Role(before.role))
        and covers(new.scope, before.labels)
        and before.disabled_at is None
    )
    account = fetch_one(
        conn,
        Account,
        f"""
        update operators
        set password_hash = %s,
            role = %s,
            labels = %s,
            disabled_at = null,
            valid_after = case when %s then clock_timestamp() else valid_after end
        where username = %s
        returning {_COLUMNS}
        """,
        (
            before.password_hash if same_password else credentials.password_hash(new.password),
            new.role,
            _json(new.scope),
            ends,
            before.username,
        ),
    )
    assert account is not None  # noqa: S101 - the row is locked
    if ends:
        _end_api_tokens(conn, before.username)
    return account


def _end_api_tokens(conn: Connection, username: str) -> None:
    """Mark the tokens that `valid_after` has just ended, for the list."""
    conn.execute("update api_tokens set revoked_at = now() where username = %s and revoked_at is null", (username,))


def _require_no_look_alike(conn: Connection, username: str) -> None:
    row = conn.execute(
        "select username from operators where lower(username) = lower(%s) limit 1", (username,)
    ).fetchone()
    if row is not None:
        raise Conflict(f"There is the operator {row[0]!r}; names must differ in more than upper and lower case.")


def _require_an_admin(conn: Connection, before: Account) -> None:
    """Raise Conflict if the change of this account left no operator who can manage operators."""
    if not before.is_unlimited_admin:
        return
    left = conn.execute(
        "select from operators where role = 'admin' and labels is null and disabled_at is null limit 1"
    ).fetchone()
    if left is None:
        raise Conflict(
            f"{before.username!r} is the last admin without a label limit; create another one before this change."
        )


def _json(scope: Scope) -> Jsonb | None:
    return None if scope is None else Jsonb(dict(scope))
