"""The messages of queues in a file: what was accepted survives the end of the process and of the machine."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

DEDUPLICATION_SECONDS = 300
"""How long a deduplication id is remembered, also when its message is gone."""

_SCHEMA = """
create table if not exists messages (
    sequence integer primary key autoincrement,
    queue text not null,
    group_id text not null,
    deduplication_id text not null,
    message_id text not null,
    body text not null,
    sent_at integer not null,
    receives integer not null default 0
);
create index if not exists messages_by_group on messages (queue, group_id, sequence);
create table if not exists deduplications (
    queue text not null,
    scope text not null,
    deduplication_id text not null,
    sequence integer not null,
    message_id text not null,
    sent_at integer not null,
    primary key (queue, scope, deduplication_id)
) without rowid;
create index if not exists deduplications_by_age on deduplications (sent_at);
"""


class QueueFileError(OSError):
    """The file of the queues cannot be used; the text says why, and what to do next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message that is not accepted yet; within `scope` its deduplication id is unique for some minutes."""

    queue: str
    group_id: str
    deduplication_id: str
    scope: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The receipt of a message: for a duplicate that of the first one."""

    message_id: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message that waits; `sent_at` is in milliseconds since 1970, `receives` counts earlier failures."""

    sequence: int
    group_id: str
    deduplication_id: str
    message_id: str
    body: str
    sent_at: int
    receives: int


class QueueStore:
    """The file.  Its methods block, and one thread at a time may call them; they raise sqlite3.Error."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or make it, readable by its owner only; None keeps the messages in memory.

        Raises QueueFileError.
        """
        try:
            if path is not None:
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._file = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            # The answer to a sender is a promise: each commit waits for the disk.
            self._file.executescript(f"pragma journal_mode = wal; pragma synchronous = full; {_SCHEMA}")
        except (OSError, sqlite3.Error) as error:
            raise QueueFileError(
                f"{path} cannot be used: {error}.\nNext: free space if the disk is full; otherwise move the file away"
                " (it holds the agents' reports that could not be settled yet), and start again."
            ) from error

    def append(self, drafts: Sequence[Draft], now: float | None = None) -> list[Accepted]:
        """Store messages in one transaction, on the disk; a duplicate is not stored again."""
        moment = int((now or time.time()) * 1000)
        with self._transaction():
            self._file.execute("delete from deduplications where sent_at < ?", (moment - DEDUPLICATION_SECONDS * 1000,))
            return [self._append(draft, moment) for draft in drafts]

    def _append(self, draft: Draft, moment: int) -> Accepted:
        key = (draft.queue, draft.scope, draft.deduplication_id)
        known = self._file.execute(
            "select message_id, sequence from deduplications where queue = ? and scope = ? and deduplication_id = ?",
            key,
        ).fetchone()
        if known:
            return Accepted(message_id=known[0], sequence=known[1])
        message_id = str(uuid.uuid4())
        sequence = self._file.execute(
            "insert into messages (queue, group_id, deduplication_id, message_id, body, sent_at) values (?, ?, ?, ?, ?, ?)",
            (draft.queue, draft.group_id, draft.deduplication_id, message_id, draft.body, moment),
        ).lastrowid
        self._file.execute("insert into deduplications values (?, ?, ?, ?, ?, ?)", (*key, sequence, message_id, moment))
        return Accepted(message_id=message_id, sequence=sequence or 0)

    def groups(self, queue: str) -> list[str]:
        """Return the groups that have messages."""
        found = self._file.execute("select distinct group_id from messages where queue = ?", (queue,))
        return [group for (group,) in found]

    def first(self, queue: str, group_id: str, most: int) -> list[Message]:
        """Return the first messages of a group, in order."""
        found = self._file.execute(
            "select sequence, group_id, deduplication_id, message_id, body, sent_at, receives from messages"
            " where queue = ? and group_id = ? order by sequence limit ?",
            (queue, group_id, most),
        )
        names = [column[0] for column in found.description]
        return [Message(**dict(zip(names, row, strict=True))) for row in found]

    def settle(self, handled: Iterable[Message], failed: Iterable[Message]) -> None:
        """Delete what was handled, and count the failure of the rest."""
        with self._transaction():
            for statement, messages in (
                ("delete from messages where sequence = ?", handled),
                ("update messages set receives = receives + 1 where sequence = ?", failed),
            ):
                self._file.executemany(statement, [(message.sequence,) for message in messages])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        self._file.execute("begin immediate")
        try:
            yield
            self._file.execute("commit")
        except BaseException:
            # A full disk may have ended the transaction already.
            if self._file.in_transaction:
                self._file.execute("rollback")
            raise
