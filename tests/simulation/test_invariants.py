"""The checker itself, on histories that are written by hand: one that is sound, and what each invariant refuses."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.simulation.invariants import INVARIANTS, check_all
from tests.simulation.record import (
    Carried,
    Failure,
    Final,
    Moved,
    Post,
    Queued,
    Record,
    Route,
    Row,
    Submission,
    Sweep,
    Told,
    Trouble,
    Visit,
)

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROW = Row(
    agent_id="a1",
    session_id=None,
    status="sent",
    attempt=1,
    max_attempts=10,
    epoch=1,
    first_epoch=1,
    seq=1,
    cancel_requested=False,
)
ROUTE = Route(epoch=1, connection_id="c1", dialect="acknowledging", window=1, last_seen=None)


def second(number: float) -> datetime:
    """Return a time, by the database's clock."""
    return BEGIN + timedelta(seconds=number)


def moved(to: str, at: float, attempt: int = 1, cause: str = "", command_id: str = "k1") -> Moved:
    """Return a transition; where it comes from is filled in by `history`."""
    return Moved(command_id=command_id, from_status=None, to_status=to, attempt=attempt, cause=cause, at=second(at))


def history(*moves: Moved) -> list[Moved]:
    """Join the moves of one command."""
    before: str | None = None
    joined: list[Moved] = []
    for each in moves:
        joined.append(replace(each, from_status=before))
        before = each.to_status
    return joined


def post(at: int = 2, attempt: int = 1, **fields: Any) -> Post:
    """Return a post of the command to its agent, which got it."""
    queue = fields.pop("queue", (queued(attempt=attempt),))
    values: dict[str, Any] = {
        "at": at,
        "clock": float(at),
        "agent_id": "a1",
        "connection_id": "c1",
        "current": "c1",
        "dialect": "acknowledging",
        "window": 1,
        "lease": f"lease-{at}",
        "first": True,
        "open_transactions": 0,
        "carried": (Carried(command_id="k1", attempt=attempt, action="do", payload={"n": 1}),),
        "queue": queue,
        "arrived": True,
        "until": at,
    }
    return Post(**{**values, **fields})


def queued(command_id: str = "k1", **fields: Any) -> Queued:
    """Return the command as it stands in the queue when a post begins."""
    values: dict[str, Any] = {
        "command_id": command_id,
        "status": "sent",
        "attempt": 1,
        "max_attempts": 10,
        "session_id": None,
        "priority": 0,
        "seq": 1,
        "due": True,
        "late": False,
        "held": 20.0,
    }
    return Queued(**{**values, **fields})


def told(**fields: Any) -> Told:
    """Return a report of the agent that completes the command."""
    values: dict[str, Any] = {
        "at": 3,
        "agent_id": "a1",
        "kind": "complete",
        "attempt": None,
        "epoch": 1,
        "command_id": "k1",
        "before": ROW,
        "after": replace(ROW, status="completed"),
        "others": (),
        "certain": True,
        "claimed_success": True,
        "warned": False,
    }
    return Told(**{**values, **fields})


def submission(**fields: Any) -> Submission:
    """Return the request that was accepted as the command."""
    values: dict[str, Any] = {
        "at": 1,
        "action": "do",
        "agent_id": "a1",
        "operator": "ann",
        "key": "key-1",
        "body": "body",
        "payload": {"n": 1},
        "outcome": "accepted",
        "command_id": "k1",
    }
    return Submission(**{**values, **fields})


def visit(**fields: Any) -> Visit:
    """Return a $disconnect of a connection that is an older one."""
    values: dict[str, Any] = {
        "at": 4,
        "agent_id": "a1",
        "connection_id": "c0",
        "what": "$disconnect",
        "epoch": 0,
        "before": ROUTE,
        "after": ROUTE,
    }
    return Visit(**{**values, **fields})


def final(**fields: Any) -> Final:
    """Return the command's row at the end."""
    values: dict[str, Any] = {
        "command_id": "k1",
        "agent_id": "a1",
        "action": "do",
        "status": "completed",
        "attempt": 1,
        "max_attempts": 10,
        "seq": 1,
        "created_at": second(1),
        "sent_at": second(2),
        "acknowledged_at": None,
        "completed_at": second(3),
        "deliver_by": None,
        "error_message": None,
        "submitted_by": "ann",
        "idempotency_key": "key-1",
    }
    return Final(**{**values, **fields})


def sound() -> Record:
    """Return the record of a command that was accepted, delivered and completed."""
    record = Record(
        submissions=[submission()],
        posts=[post()],
        told=[told()],
        visits=[visit()],
        sweeps=[Sweep(at=5, what="sweep", clean=True, failed_passes=0, stuck=())],
        finals={"k1": final()},
        history=history(moved("pending", 1, 0), moved("sent", 2), moved("completed", 3)),
        calls=[0],
    )
    record.now = 9
    return record


def resent(waited: float, cause: str, *troubles: Trouble) -> Record:
    """Return a record in which the command came twice."""
    record = sound()
    record.posts = [post(), post(6, attempt=2, queue=(queued(attempt=2),))]
    record.troubles = list(troubles)
    record.history = history(
        moved("pending", 1, 0),
        moved("sent", 2),
        moved("pending", 2 + waited, cause=cause),
        moved("sent", 3 + waited, 2),
        moved("completed", 4 + waited, 2),
    )
    record.finals = {"k1": final(attempt=2, completed_at=second(4 + waited))}
    record.told = [told(before=replace(ROW, attempt=2), after=replace(ROW, attempt=2, status="completed"))]
    return record


CUT = Trouble(at=4, kind="a fault", agent_id="a1")


def broken(record: Record) -> set[str]:
    """Name the invariants that a record breaks."""
    return {line.partition(":")[0] for line in check_all(record, Counter())}


def test_a_sound_history_breaks_nothing_and_every_invariant_looks_at_it() -> None:
    """Also one with a duplicate that has its reason."""
    checks: Counter[str] = Counter()

    assert check_all(sound(), checks) == []
    assert [name for name in INVARIANTS if not checks[name]] == []
    assert broken(resent(20, "not acknowledged in time", CUT)) == set()
    assert broken(resent(1, "not acknowledged before the agent reconnected", CUT)) == set()


Change = Callable[[Record], object]


def both(first: Change, second: Change) -> Change:
    """Join two changes."""

    def change(record: Record) -> None:
        first(record)
        second(record)

    return change


CASES: list[tuple[str, str, Change]] = [
    ("I1", "a 202 without a row", lambda r: r.submissions.append(submission(command_id="k2", key=None))),
    (
        "I1",
        "no end",
        both(lambda r: r.finals.update(k1=final(status="sent", completed_at=None)), lambda r: r.history.pop()),
    ),
    (
        "I1",
        "two ends",
        both(
            lambda r: r.history.append(replace(moved("failed", 4), from_status="completed")),
            lambda r: r.finals.update(k1=final(status="failed")),
        ),
    ),
    ("I2", "completed, and reached nobody", both(lambda r: r.posts.clear(), lambda r: r.told.clear())),
    ("I2", "delivered, and never accepted", lambda r: r.submissions.clear()),
    ("I2", "another payload", lambda r: r.submissions.__setitem__(0, submission(payload={"n": 2}))),
    (
        "I2",
        "dead, with attempts left",
        both(
            lambda r: r.finals.update(k1=final(status="dead")),
            lambda r: r.history.__setitem__(2, replace(r.history[2], to_status="dead")),
        ),
    ),
    ("I3", "twice with one attempt", both(lambda r: r.posts.append(post(6)), lambda r: r.troubles.append(CUT))),
    ("I3", "twice without a reason", lambda r: vars_of(r, resent(20, "not acknowledged in time"))),
    ("I3", "given back before its ack deadline", lambda r: vars_of(r, resent(1, "not acknowledged in time", CUT))),
    ("I3", "an attempt that no claim counted", lambda r: r.finals.update(k1=final(attempt=2))),
    ("I3", "more attempts than allowed", lambda r: r.finals.update(k1=final(max_attempts=0))),
    (
        "I3",
        "a frame that names another attempt",
        lambda r: setattr(r.posts[0], "carried", (replace(r.posts[0].carried[0], named_attempt=2),)),
    ),
    (
        "I4",
        "overtaken by a later one",
        lambda r: setattr(r.posts[0], "queue", (queued("k0", status="pending", seq=0), queued())),
    ),
    (
        "I4",
        "overtaken by a lower priority",
        lambda r: setattr(r.posts[0], "queue", (queued(), queued("k2", status="pending", seq=2, priority=5))),
    ),
    ("I4", "held back without a bound", lambda r: setattr(r.posts[0], "queue", (queued(held=3600.0),))),
    ("I5", "more in flight than the window", lambda r: setattr(r.posts[0], "queue", (queued(), queued("k2", seq=2)))),
    ("I5", "two posts at once", both(lambda r: setattr(r.posts[0], "until", 4), lambda r: r.posts.append(post(3)))),
    (
        "I5",
        "two in flight in a silent agent's session",
        both(
            lambda r: setattr(r.posts[0], "dialect", "silent"),
            lambda r: setattr(r.posts[0], "queue", (queued(), queued("k2", seq=2))),
        ),
    ),
    ("I6", "sent from nowhere", lambda r: r.history.__setitem__(0, moved("sent", 1))),
    (
        "I6",
        "completed goes back",
        lambda r: r.history.append(replace(moved("acknowledged", 4), from_status="completed")),
    ),
    (
        "I7",
        "an old attempt's ack counts",
        lambda r: r.told.__setitem__(
            0,
            told(
                kind="ack",
                attempt=1,
                before=replace(ROW, attempt=2),
                after=replace(ROW, attempt=2, status="acknowledged"),
            ),
        ),
    ),
    (
        "I7",
        "a late result is thrown away",
        lambda r: r.told.__setitem__(0, told(after=ROW, claimed_success=False, warned=True)),
    ),
    (
        "I8",
        "an old close changes the route",
        lambda r: r.visits.__setitem__(0, visit(after=replace(ROUTE, connection_id=None))),
    ),
    ("I8", "the epoch goes back", lambda r: r.visits.__setitem__(0, visit(after=replace(ROUTE, epoch=0)))),
    (
        "I8",
        "an older connection speaks, and is the route again",
        lambda r: r.visits.__setitem__(
            0,
            visit(what="message", before=replace(ROUTE, connection_id=None), after=replace(ROUTE, connection_id="c0")),
        ),
    ),
    ("I8", "a claim goes to the older connection", lambda r: setattr(r.posts[0], "current", "c2")),
    (
        "I9",
        "another agent settles it",
        lambda r: r.told.__setitem__(0, told(agent_id="a2", command_id="k1")),
    ),
    ("I9", "a report changes others too", lambda r: r.told.__setitem__(0, told(others=("k2",)))),
    (
        "I9",
        "a success that moved nothing",
        lambda r: r.told.__setitem__(0, told(before=replace(ROW, status="completed"), warned=True)),
    ),
    (
        "I9",
        "nothing moved, and nobody says so",
        lambda r: r.told.__setitem__(0, told(before=replace(ROW, status="completed"), claimed_success=False)),
    ),
    ("I10", "one key, two bodies", lambda r: r.submissions.append(submission(body="another"))),
    ("I10", "one key, two commands", lambda r: r.finals.update(k2=final(command_id="k2"))),
    (
        "I10",
        "the same body is refused",
        lambda r: r.submissions.append(submission(outcome="refused", reason="IdempotencyKeyReused", command_id=None)),
    ),
    (
        "I11",
        "a function fails without a fault",
        lambda r: r.failures.append(Failure(at=6, function="f", error="e", struck=False)),
    ),
    (
        "I11",
        "a pass of a sweep fails",
        lambda r: r.sweeps.append(Sweep(at=6, what="sweep", clean=True, failed_passes=1, stuck=())),
    ),
    ("I12", "sent before it was created", lambda r: r.finals.update(k1=final(sent_at=second(0)))),
    ("I12", "history goes back in time", lambda r: r.history.__setitem__(2, replace(r.history[2], at=second(0)))),
    ("I13", "a transaction is open during a post", lambda r: r.calls.append(1)),
    ("I14", "posted after its end", lambda r: setattr(r.posts[0], "queue", ())),
    ("I14", "posted after its deliver_by", lambda r: setattr(r.posts[0], "queue", (queued(late=True),))),
    ("I14", "posted while it is pending", lambda r: setattr(r.posts[0], "queue", (queued(status="pending"),))),
    (
        "I15",
        "a sweep leaves something due",
        lambda r: r.sweeps.append(Sweep(at=6, what="sweep", clean=True, failed_passes=0, stuck=("k1",))),
    ),
    ("I16", "a transition without history", lambda r: r.history.pop(1)),
    ("I16", "history ends elsewhere", lambda r: r.finals.update(k1=final(status="failed"))),
    ("I16", "history of no command", lambda r: r.history.append(moved("pending", 4, 0, command_id="k9"))),
]


def vars_of(record: Record, other: Record) -> None:
    """Let one record hold what another one does."""
    for name in ("posts", "told", "troubles", "history", "finals"):
        setattr(record, name, getattr(other, name))


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, _, change in CASES], ids=[f"{n}: {w}" for n, w, _ in CASES]
)
def test_a_history_in_which_something_is_wrong_is_refused(name: str, change: Change) -> None:
    """By the invariant that it breaks, whichever others it breaks too."""
    record = sound()
    change(record)

    assert name in broken(record)


def test_each_invariant_refuses_something() -> None:
    """None of them only looks on."""
    assert {name for name, _, _ in CASES} == set(INVARIANTS)
