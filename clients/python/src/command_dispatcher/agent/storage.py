"""The state file: an SQLite database with the commands that this agent owns (inbox) and what it has to say (outbox)."""

import contextlib
import errno
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import AgentError, StorageFailed
from .messages import Delivery
from .writes import Accept, Attempt, Begin, Confirm, End, Forget, Outcome, Probe, StoredCommand, Write

try:
    import fcntl
except ImportError:  # pragma: no cover - not a POSIX system
    fcntl = None  # type: ignore[assignment]

VERSION = 1
_SCHEMA = """
create table if not exists inbox (
    command_id text primary key,
    position integer not null unique,
    attempt integer not null,
    state text not null check (state in ('accepted', 'running', 'ended')),
    command text not null,
    outcome text check ((state = 'ended') = (outcome is not null))
) strict;
create table if not exists outbox (
    command_id text primary key references inbox (command_id) on delete cascade
) strict;
create table if not exists agent (
    name text primary key,
    value text not null
) strict;
"""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ROOM_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
_PROBE_BYTES = 256 * 1024
"""A command and its result, with what their pages need."""
_locked: set[Path] = set()
"""State files of this process: a POSIX lock does not keep out its own process."""


class SqliteStorage:
    """One agent's state file, locked against a second process; use it in the thread that made it."""

    def __init__(self, path: Path, agent_id: str) -> None:
        """Open or create the file.

        Raises AgentError if another process uses it, or it belongs to another agent; StorageFailed if the disk is full.
        """
        self._path = path.resolve()
        with contextlib.ExitStack() as opened:
            self._lock = _lock(self._path, opened)
            try:
                self.connection = sqlite3.connect(self._path, isolation_level=None)
                opened.callback(self.connection.close)
                self._path.chmod(0o600)  # commands and results may be confidential
                self._prepare(agent_id)
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0)
                raise _failure(path, error, no_room=code & 0xFF in _NO_ROOM_CODES or _is_full(self._path)) from error
            self._opened = opened.pop_all()

    def _prepare(self, agent_id: str) -> None:
        execute = self.connection.execute
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = full")
        execute("pragma foreign_keys = on")
        (version,) = execute("pragma user_version").fetchone()
        if version > VERSION:
            raise AgentError(f"The state file {self._path} is from a newer version of this library.")
        self.connection.executescript(_SCHEMA)
        execute(f"pragma user_version = {VERSION}")
        execute("insert or ignore into agent values ('agent_id', ?)", (agent_id,))
        (owner,) = execute("select value from agent where name = 'agent_id'").fetchone()
        if owner != agent_id:
            raise AgentError(
                f"The state file {self._path} belongs to the agent {owner!r}, and this one is {agent_id!r}. "
                "Give each agent its own file (state=... or AGENT_STATE)."
            )

    def load(self) -> list[StoredCommand]:
        """Return all stored commands, in the order of their acceptance."""
        rows = self.connection.execute(
            """
            select i.command_id, i.attempt, i.state, i.command, i.outcome, o.command_id is null
            from inbox i
            left join outbox o using (command_id)
            order by i.position
            """
        )
        return [
            StoredCommand(
                delivery=Delivery.from_json(command_id, attempt, command),
                state=state,
                outcome=None if outcome is None else _read_outcome(outcome),
                confirmed=state == "ended" and bool(confirmed),
            )
            for command_id, attempt, state, command, outcome, confirmed in rows
        ]

    def commit(self, writes: Sequence[Write]) -> None:
        """Store everything in one transaction, durably; raises StorageFailed, and then nothing of it is stored."""
        try:
            self.connection.execute("begin immediate")
            for write in writes:
                self._write(write)
            self.connection.execute("commit")
        except (sqlite3.Error, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                if self.connection.in_transaction:
                    self.connection.execute("rollback")
            raise StorageFailed(str(error)) from error

    def _write(self, write: Write) -> None:
        execute = self.connection.execute
        match write:
            case Accept():
                # One that ended and is to be executed again loses its end.
                execute("delete from inbox where command_id = ?", (write.delivery.command_id,))
                self._insert(write.delivery, "accepted", None)
            case Attempt():
                execute("update inbox set attempt = ? where command_id = ?", (write.attempt, write.command_id))
            case Begin():
                execute("update inbox set state = 'running' where command_id = ?", (write.command_id,))
            case End():
                self._end(write)
            case Confirm():
                execute("delete from outbox where command_id in (select value from json_each(?))", _json(write))
            case Forget():
                execute("delete from inbox where command_id in (select value from json_each(?))", _json(write))
            case Probe():
                execute("replace into agent values ('probe', hex(zeroblob(?)))", (_PROBE_BYTES // 2,))
                execute("delete from agent where name = 'probe'")

    def _end(self, write: End) -> None:
        delivery, outcome = write.delivery, _write_outcome(write.outcome)
        moved = self.connection.execute(
            "update inbox set state = 'ended', attempt = ?, command = ?, outcome = ? where command_id = ?",
            (delivery.attempt, delivery.to_json(), outcome, delivery.command_id),
        ).rowcount
        if not moved:
            self._insert(delivery, "ended", outcome)
        self.connection.execute("insert or ignore into outbox values (?)", (delivery.command_id,))

    def _insert(self, delivery: Delivery, state: str, outcome: str | None) -> None:
        self.connection.execute(
            "insert into inbox select ?, coalesce(max(position), 0) + 1, ?, ?, ?, ? from inbox",
            (delivery.command_id, delivery.attempt, state, delivery.to_json(), outcome),
        )

    def close(self) -> None:
        """Give the state file back."""
        self._opened.close()


def _lock(path: Path, opened: contextlib.ExitStack) -> int:
    """Lock the file beside the state file until `opened` is closed."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _failure(path, error, no_room=error.errno in _NO_ROOM) from error
    opened.callback(os.close, descriptor)
    try:
        if path in _locked:
            raise BlockingIOError
        if fcntl is not None:
            # A POSIX lock ends with this process, also if a child that a handler forked lives on.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 20).decode(errors="replace").strip()
        raise AgentError(
            f"The state file {path} is in use by another agent{f' (process {owner})' if owner else ''}. "
            "An agent runs once for each state file: stop the other one, or choose another state file."
        ) from None
    _locked.add(path)
    opened.callback(_locked.discard, path)
    with contextlib.suppress(OSError):  # it only helps people, and the disk may be full
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _failure(path: Path, error: Exception, *, no_room: bool) -> AgentError | StorageFailed:
    words = f"The state file {path} cannot be used: {error}."
    return StorageFailed(words) if no_room else AgentError(words)


def _is_full(path: Path) -> bool:
    """Tell whether the disk is full: SQLite does not always say so when it cannot create a file."""
    try:
        found = os.statvfs(path.parent)
    except (AttributeError, OSError):
        return False
    return found.f_bavail == 0 or (found.f_files > 0 and found.f_favail == 0)


def _json(write: Confirm | Forget) -> tuple[str]:
    return (json.dumps(write.command_ids),)


def _write_outcome(outcome: Outcome) -> str:
    fields: dict[str, Any] = {"kind": outcome.kind, "body": outcome.body}
    if outcome.retryable:
        fields.update(retryable=True, retryAfter=outcome.retry_after)
    return json.dumps(fields)


def _read_outcome(text: str) -> Outcome:
    fields = json.loads(text)
    return Outcome(
        kind=fields["kind"],
        body=fields["body"],
        retryable=fields.get("retryable", False),
        retry_after=fields.get("retryAfter", 0.0),
    )
