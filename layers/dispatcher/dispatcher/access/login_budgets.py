"""Budgets of failed log-ins: of a name from an address, of an address, and of a name.

An attempt takes the locks of its budgets before the password is checked, so that attempts in parallel are counted one by one.
"""

import ipaddress
from dataclasses import dataclass

import psycopg

from dispatcher.access import usernames
from dispatcher.errors import TooManyAttempts
from dispatcher.platform.database import Connection, fetch_all

FREE_ATTEMPTS = 5
"""Failed log-ins of one name from one address before the name has to wait there."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 900.0
"""The pause doubles with each further failure.  After a day without a failure the count starts again."""
DAY_SECONDS = 86_400.0
SHARED = {"address": (20, 6.0), "name": (30, 60.0)}
"""Of all names from one address, and of one name from all addresses: how many failures, and the seconds that forgive one."""
TRUSTED = "30 days"
"""For so long an address from which a name logged in needs no room in the shared budgets: no attacker locks the owner out."""
VERIFICATIONS_AT_ONCE = 8
"""Passwords that are checked at the same time, in all functions: argon2 needs 19 MiB and a processor for each."""
BUSY_SECONDS = 1.0
# The number has no meaning: with a slot it is the key of an advisory lock.
_SLOTS = 730_521


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One budget's row; ages are in seconds."""

    budget: str
    subject: str
    level: float
    age: float
    trusted: bool

    @property
    def used(self) -> float:
        """The failures that still count."""
        if self.budget == "pair":
            return 0.0 if self.age > DAY_SECONDS else self.level
        return max(0.0, self.level - self.age / SHARED[self.budget][1])

    @property
    def wait(self) -> float:
        """The seconds until the next attempt; 0: it may come now."""
        if self.budget == "pair":
            if self.used < FREE_ATTEMPTS:
                return 0.0
            doublings = min(int(self.used) - FREE_ATTEMPTS, 16)
            return max(0.0, min(FIRST_PAUSE_SECONDS * (1 << doublings), LONGEST_PAUSE_SECONDS) - self.age)
        most, seconds = SHARED[self.budget]
        return max(0.0, (self.used - (most - 1)) * seconds)


def subjects_of(written_name: str, address: str) -> dict[str, str]:
    """Return the subject of each budget."""
    name, network = usernames.normalized(written_name)[:256], network_of(address)
    return {"address": network, "name": name, "pair": f"{network} {name}"}


def network_of(address: str) -> str:
    """Return what counts as one address: of IPv6 the /64, because one machine has all of it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), 64), strict=False))


def reserve(conn: Connection, subjects: dict[str, str]) -> list[Budget]:
    """Lock the budgets of an attempt until the end of the transaction, and return them; raises TooManyAttempts.

    An attempt that has no room is refused without a lock, so that a flood of attempts does not queue.
    """
    known = fetch_all(
        conn,
        Budget,
        f"""
        select {_COLUMNS}
        from login_budgets b
        join unnest(%s::text[], %s::text[]) as wanted (budget, subject) using (budget, subject)
        """,
        _arrays(subjects),
    )
    needed = dict(subjects)
    if any(each.trusted for each in known):
        needed = {"pair": subjects["pair"]}
    _require_room([each for each in known if each.budget in needed])
    try:
        locked = fetch_all(
            conn,
            Budget,
            f"""
            insert into login_budgets as b (budget, subject)
            select budget, subject
            from unnest(%s::text[], %s::text[]) as wanted (budget, subject)
            order by budget, subject
            on conflict (budget, subject) do update
            set subject = excluded.subject
            returning {_COLUMNS}
            """,
            _arrays(needed),
        )
    except psycopg.errors.LockNotAvailable:
        raise _busy() from None
    _require_room(locked)
    slot = conn.execute(
        "select slot from generate_series(1, %s) slot where pg_try_advisory_xact_lock(%s, slot) limit 1",
        (VERIFICATIONS_AT_ONCE, _SLOTS),
    ).fetchone()
    if slot is None:
        raise _busy()
    return locked


def record_failure(conn: Connection, reserved: list[Budget]) -> None:
    """Count a failed attempt in its budgets, which are locked."""
    conn.execute(
        """
        update login_budgets b
        set level = counted.level,
            last_at = clock_timestamp()
        from unnest(%s::text[], %s::text[], %s::float8[]) as counted (budget, subject, level)
        where b.budget = counted.budget
          and b.subject = counted.subject
        """,
        (
            [each.budget for each in reserved],
            [each.subject for each in reserved],
            [each.used + 1 for each in reserved],
        ),
    )


def give_back(conn: Connection, subjects: dict[str, str]) -> None:
    """Forget an attempt that was counted as failed before its result was known."""
    conn.execute(
        """
        update login_budgets
        set level = greatest(level - 1, 0)
        where (budget, subject) in (select * from unnest(%s::text[], %s::text[]))
        """,
        _arrays(subjects),
    )


def record_success(conn: Connection, reserved: list[Budget]) -> None:
    """Forget the failures of the name from its address; those of the shared budgets stay."""
    conn.execute(
        """
        update login_budgets
        set level = 0,
            succeeded_at = now()
        where budget = 'pair'
          and subject = any (%s)
        """,
        ([each.subject for each in reserved],),
    )


def prune(conn: Connection, limit: int) -> int:
    """Delete budgets that no longer count; return how many."""
    return conn.execute(
        f"""
        delete from login_budgets
        where (budget, subject) in (
            select budget, subject
            from login_budgets
            where last_at < now() - interval '1 day'
              and (succeeded_at is null or succeeded_at < now() - interval '{TRUSTED}')
            order by last_at
            limit %s
            for update skip locked)
        """,
        (limit,),
    ).rowcount


# An attempt may have waited for its locks: the age is taken when the row is read.
_COLUMNS = f"""b.budget, b.subject, b.level, extract(epoch from clock_timestamp() - b.last_at)::float8 as age,
    coalesce(b.succeeded_at > now() - interval '{TRUSTED}', false) as trusted"""


def _arrays(subjects: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(subjects), list(subjects.values())


def _require_room(budgets: list[Budget]) -> None:
    if (seconds := max((each.wait for each in budgets), default=0.0)) > 0:
        raise TooManyAttempts("Too many failed attempts; wait before the next.", retry_after=seconds)


def _busy() -> TooManyAttempts:
    return TooManyAttempts("Too many log-ins at the same time; try again.", retry_after=BUSY_SECONDS)
