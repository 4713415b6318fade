"""Cancel or redrive all commands that match a filter, as one change."""

from dataclasses import dataclass, replace
from typing import Any

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.commands import cancellation, command_lists, command_records, submission
from dispatcher.commands.command_lists import Filter
from dispatcher.commands.flush import hand_over
from dispatcher.commands.lifecycle import ALIVE, ENDED, Status
from dispatcher.errors import Conflict, Unprocessable
from dispatcher.platform.database import Connection

MOST = 10_000
"""The most commands that one request changes."""
ROWS = 100_000
"""The most entries of an index that one request reads (of each status), and the most commands that it counts."""
AGENTS = 5000
"""Up to so many agents of a selector are looked at one by one."""
CANCELLED_UNNAMED = ALIVE
"""What is cancelled where the filter names no status."""
REDRIVEN_UNNAMED = frozenset({Status.FAILED, Status.EXPIRED, Status.DEAD, Status.TIMED_OUT})
"""What is redriven where the filter names no status: not what an operator has cancelled."""

# The agent is still the one that the command was for, and the command was not redriven before.
_REDRIVABLE = """(select count(*) from command_list r where r.redrive_of = w.command_id) = 0
    and coalesce((
        select a.deleted_at is null and (w.incarnation is null or w.incarnation = a.incarnation)
        from agents a
        where a.agent_id = w.agent_id), false)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkChange:
    """What an operator asks for."""

    wanted: Filter
    expected: int | None = None
    """How many commands must match; None: any number."""
    dry_run: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkDone:
    """How many commands matched, and how many of them were changed."""

    matched: int
    changed: int


def cancel(conn: Connection, change: BulkChange, by: Operator) -> BulkDone:
    """Cancel what is pending, and have the agents told to stop what is under way.

    Raises Conflict if another number than expected matches, Unprocessable if too many do or the filter needs too long.
    """
    with conn.transaction():
        ids = _matching(conn, change, by, allowed=cancellation.CANCELLABLE, unnamed=CANCELLED_UNNAMED)
        if change.dry_run:
            return BulkDone(matched=len(ids), changed=0)
        changed, agent_ids = cancellation.request_cancels(conn, ids, by.username)
        _record(conn, "cancel commands", change, by, matched=len(ids), changed=changed)
    if agent_ids:
        hand_over(conn, agent_ids)
    return BulkDone(matched=len(ids), changed=changed)


def redrive(conn: Connection, change: BulkChange, by: Operator) -> BulkDone:
    """Submit again what ended without success and was not redriven before, all or none.

    Raises what `cancel` raises, and what `submission.submit` raises: the queue of an agent may be full.
    """
    with conn.transaction():
        if not change.dry_run:
            # Two requests at the same time must not redrive a command twice.
            conn.execute("select pg_advisory_xact_lock(hashtextextended('redrive commands', 0))")
        allowed = ENDED - {Status.COMPLETED}
        ids = _matching(conn, change, by, allowed=allowed, unnamed=REDRIVEN_UNNAMED, condition=_REDRIVABLE)
        if change.dry_run:
            return BulkDone(matched=len(ids), changed=0)
        again = [submission.again(command) for command in command_records.read_light(conn, ids)]
        accepted = submission.submit_list(conn, again, None, by) if again else []
        _record(conn, "redrive commands", change, by, matched=len(ids), changed=len(accepted))
    if accepted:
        hand_over(conn, [each.agent_id for each in accepted])
    return BulkDone(matched=len(ids), changed=len(accepted))


def _matching(
    conn: Connection,
    change: BulkChange,
    by: Operator,
    *,
    allowed: frozenset[Status],
    unnamed: frozenset[Status],
    condition: str = "true",
) -> list[str]:
    """Return the ids of the commands that are to be changed."""
    if change.wanted == Filter() and change.expected is None and not change.dry_run:
        raise _refused("It names nothing, so it means every command; send expectedCount with it")
    statuses = unnamed if change.wanted.statuses is None else change.wanted.statuses & allowed
    found = command_lists.find(
        conn,
        scope=by.scope,
        wanted=replace(change.wanted, statuses=statuses),
        limit=ROWS,
        rows=ROWS + 1,  # the last one tells whether there are more
        few=AGENTS,
        shared=False,
        condition=condition,
    )
    matched = len(found.ids)
    at_least = "" if found.next is None else "at least "
    if found.next is not None and matched <= MOST:
        raise _refused(
            f"More than {ROWS} commands would have to be read; name the agent, the session or a shorter time"
        )
    if change.expected is not None and change.expected != matched:
        raise Conflict(
            f"{at_least}{matched} commands match, and {change.expected} were expected.".capitalize(),
            matched=matched,
            expectedCount=change.expected,
        )
    if found.next is not None and change.dry_run:
        raise _refused(f"{at_least}{matched} commands match, and no more are counted; narrow it by since and until")
    if matched > MOST and not change.dry_run:
        raise _refused(
            f"{at_least}{matched} commands match, and one request changes {MOST} at most; narrow it by since and until",
            matched=matched,
        )
    return found.ids


def _record(conn: Connection, action: str, change: BulkChange, by: Operator, *, matched: int, changed: int) -> None:
    wanted = change.wanted
    named: dict[str, Any] = {
        "agentId": wanted.agent_id,
        "sessionId": wanted.session_id,
        "status": None if wanted.statuses is None else sorted(map(str, wanted.statuses)),
        "action": wanted.action,
        "submittedBy": wanted.submitted_by,
        "since": wanted.since and wanted.since.isoformat(),
        "until": wanted.until and wanted.until.isoformat(),
        "selector": wanted.selector and wanted.selector.text,
    }
    detail = {
        "filter": {name: value for name, value in named.items() if value is not None},
        "matched": matched,
        "changed": changed,
        "reason": change.reason,
    }
    audit_log.record(conn, by.actor, action, agent_id=wanted.agent_id, detail=detail)


def _refused(why: str, **members: Any) -> Unprocessable:
    at = "body/filter"
    return Unprocessable(f"{at}: {why}.", errors=[{"at": at, "is": why}], **members)
