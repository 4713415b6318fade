"""The checker itself, on histories that are written by hand: a correct one, and what each invariant refuses."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.simulation.history import (
    AgentReport,
    AgentState,
    CommandState,
    ConnectionEvent,
    DeliveryRound,
    FaultEvent,
    FinalCommand,
    FunctionError,
    History,
    Post,
    PostedCommand,
    QueuedCommand,
    RecordedTransition,
    Submission,
)
from tests.simulation.invariants import INVARIANTS, violations_of

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)


def second(number: float) -> datetime:
    """Return a time by the database's clock."""
    return BEGIN + timedelta(seconds=number)


# One command, k1: accepted, delivered to its agent and completed.
SUBMISSION = Submission(
    action="do",
    agent_id="a1",
    operator="ann",
    key="key-1",
    body="body",
    payload={"n": 1},
    outcome="accepted",
    command_id="k1",
)
POSTED = PostedCommand(command_id="k1", attempt=1, action="do", payload={"n": 1})
QUEUED = QueuedCommand(
    command_id="k1",
    status="sent",
    attempt=1,
    session_id=None,
    priority=0,
    seq=1,
    due=True,
    late=False,
    ack_seconds_left=20.0,
)
WAITING = replace(QUEUED, command_id="k0", status="pending", seq=0)
SECOND_IN_FLIGHT = replace(QUEUED, command_id="k2", seq=2)
POST = Post(
    begun_at=2,
    ended_at=2,
    clock=2.0,
    agent_id="a1",
    connection_id="c1",
    current_connection_id="c1",
    mode="acknowledging",
    window=1,
    lease="lease-1",
    first_of_lease=True,
    commands=(POSTED,),
    queue=(QUEUED,),
    arrived=True,
)
SENT = CommandState(
    command_id="k1",
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
COMPLETED = replace(SENT, status="completed")
REPORT = AgentReport(
    agent_id="a1",
    kind="complete",
    attempt=None,
    epoch=1,
    command_id="k1",
    before=SENT,
    after=COMPLETED,
    others_changed=(),
    finished=True,
    logged_success=True,
    logged_warning=False,
)
AGENT = AgentState(epoch=1, connection_id="c1", mode="acknowledging", window=1, last_seen=None)
OLD_DISCONNECT = ConnectionEvent(
    agent_id="a1", connection_id="c0", kind="$disconnect", epoch=0, before=AGENT, after=AGENT
)
SWEEP = DeliveryRound(kind="sweep", undisturbed=True, failed_passes=0, stuck=())
COMMAND = FinalCommand(
    command_id="k1",
    agent_id="a1",
    action="do",
    status="completed",
    attempt=1,
    max_attempts=10,
    created_at=second(1),
    sent_at=second(2),
    acknowledged_at=None,
    completed_at=second(3),
    error_message=None,
    submitted_by="ann",
    idempotency_key="key-1",
)
FAULT = FaultEvent(at=4, kind="a fault", agent_id="a1")


def transitions(*steps: tuple[str, float, int], cause: str = "") -> list[RecordedTransition]:
    """Return the command's transitions: status, second, attempt; each begins where the one before ends."""
    sources = [None, *(status for status, _, _ in steps)]
    return [
        RecordedTransition(
            command_id="k1", from_status=source, to_status=status, attempt=attempt, cause=cause, at=second(at)
        )
        for source, (status, at, attempt) in zip(sources, steps, strict=False)
    ]


TRANSITIONS = transitions(("pending", 1, 0), ("sent", 2, 1), ("completed", 3, 1))
CORRECT = History(
    submissions=[SUBMISSION],
    posts=[POST],
    reports=[REPORT],
    connection_events=[OLD_DISCONNECT],
    delivery_rounds=[SWEEP],
    commands=[COMMAND],
    transitions=TRANSITIONS,
    open_transactions=[0],
)


def delivered_twice(waited: float, cause: str, *faults: FaultEvent) -> dict[str, Any]:
    """Return what differs in a history in which the command returned to the queue after some seconds, and went out again."""
    second_attempt = replace(SENT, attempt=2)
    again = replace(
        POST,
        begun_at=6,
        ended_at=6,
        commands=(replace(POSTED, attempt=2),),
        queue=(replace(QUEUED, attempt=2),),
    )
    return {
        "posts": [POST, again],
        "faults": list(faults),
        "reports": [replace(REPORT, before=second_attempt, after=replace(second_attempt, status="completed"))],
        "commands": [replace(COMMAND, attempt=2, completed_at=second(4 + waited))],
        "transitions": transitions(
            ("pending", 1, 0),
            ("sent", 2, 1),
            ("pending", 2 + waited, 1),
            ("sent", 3 + waited, 2),
            ("completed", 4 + waited, 2),
            cause=cause,
        ),
    }


def post(**changes: Any) -> dict[str, Any]:
    """Return a change of the only post."""
    return {"posts": [replace(POST, **changes)]}


def command(**changes: Any) -> dict[str, Any]:
    """Return a change of the command's row at the end."""
    return {"commands": [replace(COMMAND, **changes)]}


def report(**changes: Any) -> dict[str, Any]:
    """Return a change of the only report."""
    return {"reports": [replace(REPORT, **changes)]}


def event(**changes: Any) -> dict[str, Any]:
    """Return a change of the only event of a connection."""
    return {"connection_events": [replace(OLD_DISCONNECT, **changes)]}


def submitted_twice(**changes: Any) -> dict[str, Any]:
    """Return a second submission."""
    return {"submissions": [SUBMISSION, replace(SUBMISSION, **changes)]}


def moved(to_status: str, from_status: str | None = "completed", command_id: str = "k1") -> dict[str, Any]:
    """Return one more transition."""
    last = replace(TRANSITIONS[-1], at=second(4), command_id=command_id)
    return {"transitions": [*TRANSITIONS, replace(last, from_status=from_status, to_status=to_status)]}


def swept(**changes: Any) -> dict[str, Any]:
    """Return a change of the only sweep."""
    return {"delivery_rounds": [replace(SWEEP, **changes)]}


NO_CHANGE: dict[str, Any] = {"before": COMPLETED, "after": COMPLETED}
WRONG: list[tuple[str, str, dict[str, Any]]] = [
    ("I1", "accepted, but without a row", submitted_twice(command_id="k2", key=None)),
    ("I1", "no end", command(status="sent", completed_at=None) | {"transitions": TRANSITIONS[:-1]}),
    ("I1", "two ends", command(status="failed") | moved("failed")),
    ("I2", "completed, but not delivered", {"posts": [], "reports": []}),
    ("I2", "delivered, but not accepted", {"submissions": []}),
    ("I2", "another payload", {"submissions": [replace(SUBMISSION, payload={"n": 2})]}),
    ("I2", "dead, with attempts left", command(status="dead")),
    ("I3", "twice with one attempt", {"posts": [POST, replace(POST, begun_at=6)], "faults": [FAULT]}),
    ("I3", "twice without a reason", delivered_twice(20, "not acknowledged in time")),
    ("I3", "returned before its ack deadline", delivered_twice(1, "not acknowledged in time", FAULT)),
    ("I3", "an attempt without a claim", command(attempt=2)),
    ("I3", "more attempts than allowed", command(max_attempts=0)),
    ("I3", "a message names another attempt", post(commands=(replace(POSTED, named_attempt=2),))),
    ("I4", "overtaken by a later one", post(queue=(WAITING, QUEUED))),
    ("I4", "overtaken by a lower priority", post(queue=(QUEUED, replace(WAITING, seq=2, priority=5)))),
    (
        "I4",
        "out of order in one post",
        post(commands=(replace(POSTED, command_id="k2"), POSTED), queue=(QUEUED, SECOND_IN_FLIGHT)),
    ),
    ("I4", "an ack deadline without a limit", post(queue=(replace(QUEUED, ack_seconds_left=3600.0),))),
    ("I5", "more in flight than the window", post(queue=(QUEUED, SECOND_IN_FLIGHT))),
    ("I5", "two in flight in a silent agent's session", post(mode="silent", queue=(QUEUED, SECOND_IN_FLIGHT))),
    ("I5", "two posts at once", {"posts": [replace(POST, ended_at=4), replace(POST, begun_at=3)]}),
    ("I6", "sent before it was pending", {"transitions": transitions(("sent", 1, 1), ("completed", 3, 1))}),
    ("I6", "acknowledged after its end", moved("acknowledged")),
    (
        "I7",
        "an ack of an old attempt counts",
        report(
            kind="ack",
            attempt=1,
            before=replace(SENT, attempt=2),
            after=replace(SENT, attempt=2, status="acknowledged"),
        ),
    ),
    ("I7", "a late result is ignored", report(after=SENT, logged_success=False, logged_warning=True)),
    ("I8", "an old $disconnect changes the connection", event(after=replace(AGENT, connection_id=None))),
    ("I8", "the epoch goes back", event(after=replace(AGENT, epoch=0))),
    (
        "I8",
        "an old connection becomes current by a message",
        event(kind="message", before=replace(AGENT, connection_id=None), after=replace(AGENT, connection_id="c0")),
    ),
    ("I8", "a claim is posted over an old connection", post(current_connection_id="c2")),
    ("I9", "another agent settles it", report(agent_id="a2")),
    ("I9", "a report changes others too", report(others_changed=("k2",))),
    ("I9", "success is logged, but nothing changed", report(**NO_CHANGE, logged_warning=True)),
    ("I9", "nothing changed, and no warning", report(**NO_CHANGE, logged_success=False)),
    ("I10", "one key, two requests", submitted_twice(body="another")),
    ("I10", "one key, two commands", {"commands": [COMMAND, replace(COMMAND, command_id="k2")]}),
    (
        "I10",
        "the same request is refused",
        submitted_twice(outcome="refused", reason="IdempotencyKeyReused", command_id=None),
    ),
    (
        "I11",
        "a function fails without a fault",
        {"function_errors": [FunctionError(function="f", error="e", fault_injected=False)]},
    ),
    ("I11", "a pass of a sweep fails", swept(failed_passes=1)),
    ("I12", "sent before it was created", command(sent_at=second(0))),
    ("I12", "time goes back", {"transitions": [*TRANSITIONS[:-1], replace(TRANSITIONS[-1], at=second(0))]}),
    ("I13", "a transaction is open during a post", {"open_transactions": [0, 1]}),
    ("I14", "posted after its end", post(queue=())),
    ("I14", "posted after its deliver_by", post(queue=(replace(QUEUED, late=True),))),
    ("I14", "posted while pending", post(queue=(replace(QUEUED, status="pending"),))),
    ("I15", "a sweep leaves a due command", swept(stuck=("k1",))),
    ("I16", "a transition without history", {"transitions": [TRANSITIONS[0], TRANSITIONS[2]]}),
    ("I16", "history ends at another status", command(status="failed")),
    ("I16", "history of an unknown command", moved("pending", None, command_id="k9")),
]


def broken(**changes: Any) -> set[str]:
    """Return the names of the invariants that the changed history breaks."""
    violations = violations_of(replace(CORRECT, **changes), Counter())
    return {violation.partition(":")[0] for violation in violations}


def test_a_correct_history_breaks_nothing_and_every_invariant_checks_it() -> None:
    """Also with a second delivery that has a reason."""
    checks: Counter[str] = Counter()

    assert violations_of(CORRECT, checks) == []
    assert [name for name in INVARIANTS if not checks[name]] == []
    assert broken(**delivered_twice(20, "not acknowledged in time", FAULT)) == set()
    assert broken(**delivered_twice(1, "not acknowledged before the agent reconnected", FAULT)) == set()


@pytest.mark.parametrize(
    ("name", "changes"), [(n, c) for n, _, c in WRONG], ids=[f"{n}: {what}" for n, what, _ in WRONG]
)
def test_a_wrong_history_is_refused(name: str, changes: dict[str, Any]) -> None:
    """By the invariant that it breaks, whichever others it breaks too."""
    assert name in broken(**changes)


def test_each_invariant_refuses_something() -> None:
    """Every invariant can fail."""
    assert {name for name, _, _ in WRONG} == set(INVARIANTS)
