"""The checker itself: a correct history breaks no invariant, and each change that makes it wrong is noticed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.simulation.fault_scenarios import Scenario, missing_ack, play_scenario
from tests.simulation.history import (
    Confirmation,
    ConnectionEvent,
    Deletion,
    FunctionError,
    History,
    Resumption,
    StopPost,
)
from tests.simulation.invariants import INVARIANTS, violations_of
from tests.simulation.simulation_database import SimulationDatabase

Changes = dict[str, Any]
"""Fields of a history that another one differs in."""


def one_command(scenario: Scenario) -> None:
    """One command is submitted, delivered and completed; a late event of an old connection follows."""
    scenario.connect("k8s")
    scenario.submit("k8s", idempotency_key="key-1")
    scenario.report("k8s", "complete")
    scenario.connect("k8s")
    scenario.agents.disconnect(scenario.agents.connections("k8s")[1])


@pytest.fixture(scope="module")
def correct(simulation_database: SimulationDatabase) -> History:
    """A history with one command that was delivered once."""
    return play_scenario(simulation_database, one_command)


@pytest.fixture(scope="module")
def delivered_twice(simulation_database: SimulationDatabase) -> History:
    """A history with one command that was delivered again because its ack was missing."""
    return play_scenario(simulation_database, missing_ack)


def post(history: History, **changes: Any) -> Changes:
    """Change the post."""
    return {"posts": [replace(history.posts[0], **changes)]}


def agent(history: History, **changes: Any) -> Changes:
    """Change the agent as it was when the post began."""
    return post(history, agent=replace(history.posts[0].agent, **changes))


def queue(history: History, *queued: Changes) -> Changes:
    """Change the queue that was seen when the post began: one command for each dict of changes."""
    return post(history, queue=tuple(replace(history.posts[0].queue[0], **changes) for changes in queued))


def command(history: History, **changes: Any) -> Changes:
    """Change the command's row at the end."""
    return {"commands": [replace(history.commands[0], **changes)]}


def report(history: History, **changes: Any) -> Changes:
    """Change the report."""
    return {"reports": [replace(history.reports[0], **changes)]}


def old_event(history: History) -> ConnectionEvent:
    """Return the late event of the old connection."""
    return next(each for each in history.connection_events if each.kind == "$disconnect")


def event(history: History, **changes: Any) -> Changes:
    """Change the agent's state after the old connection's event."""
    before = old_event(history)
    return {"connection_events": [replace(before, after=replace(before.after, **changes))]}


def submitted_twice(history: History, **changes: Any) -> Changes:
    """Add a second submission."""
    return {"submissions": [*history.submissions, replace(history.submissions[0], **changes)]}


def transition(history: History, **changes: Any) -> Changes:
    """Add a transition after the last one."""
    last = replace(history.transitions[-1], from_status="completed")
    return {"transitions": [*history.transitions, replace(last, **changes)]}


def swept(history: History, **changes: Any) -> Changes:
    """Change the last sweep."""
    return {"delivery_rounds": [replace(history.delivery_rounds[-1], **changes)]}


def without_effect(history: History, **changes: Any) -> Changes:
    """Change the report to one that changed nothing."""
    return report(history, before=history.reports[0].after, **changes)


def ack_of_first_attempt(history: History) -> Changes:
    """Let an ack of the first attempt move the second one."""
    before = history.reports[0].before
    assert before is not None
    second = replace(before, attempt=2)
    return report(history, kinds=("ack",), attempt=1, before=second, after=replace(second, status="acknowledged"))


def renamed_post(history: History) -> Changes:
    """Let the message name another attempt."""
    return post(history, commands=(replace(history.posts[0].commands[0], named_attempt=2),))


def disordered_post(history: History) -> Changes:
    """Let a post contain a later command before an earlier one."""
    posted, queued = history.posts[0].commands[0], history.posts[0].queue[0]
    return post(
        history,
        commands=(replace(posted, command_id="k2"), posted),
        queue=(queued, replace(queued, command_id="k2", seq=queued.seq + 1)),
    )


def message_event(history: History, *, before: str | None, after: str, epoch: int) -> Changes:
    """Let a message over the old connection c1 change the agent's connection; `epoch` is added to that of c1."""
    old = old_event(history)
    return {
        "connection_events": [
            replace(
                old,
                kind="message",
                epoch=old.epoch + epoch,
                before=replace(old.before, connection_id=before),
                after=replace(old.after, connection_id=after),
            )
        ]
    }


def two_posts_at_once(history: History) -> Changes:
    """Let another post begin before the first one has ended."""
    first = history.posts[0]
    other = replace(first, begun_at=first.begun_at + 1, agent=replace(first.agent, lease="another"))
    return {"posts": [replace(first, ended_at=first.begun_at + 2), other]}


def shifted(history: History, index: int, seconds: float) -> Changes:
    """Move one transition in time."""
    moved = [*history.transitions]
    moved[index] = replace(moved[index], at=moved[index].at + timedelta(seconds=seconds))
    return {"transitions": moved}


def returned(history: History, **changes: Any) -> Changes:
    """Let the only attempt return to the queue without an ack."""
    accepted, claimed, *_ = history.transitions
    back = replace(
        claimed,
        history_id=10**9,
        from_status="sent",
        to_status="pending",
        cause="not acknowledged before the agent reconnected",
    )
    return {"transitions": [accepted, claimed, replace(back, **changes)]}


def claimed_too_soon(history: History) -> Changes:
    """Let the third attempt follow the second one at once."""
    accepted, claimed, *_ = history.transitions
    back = returned(history)["transitions"][-1]
    again = [replace(each, attempt=each.attempt + 1) for each in (claimed, back)]
    return {"transitions": [accepted, claimed, back, *again, replace(claimed, attempt=3)]}


def resumed_wrongly(history: History) -> Changes:
    """Let a command end because its agent says that it executes it."""
    before, after = history.reports[0].before, history.reports[0].after
    assert before is not None
    assert after is not None
    resumption = Resumption(
        agent_id="k8s",
        incarnation=1,
        epoch=1,
        current=True,
        admitted=True,
        running={},
        before={before.command_id: before},
        after={before.command_id: after},
        finished=True,
    )
    return {"resumptions": [resumption]}


def said(history: History, **changes: Any) -> Changes:
    """Change what became of a message."""
    return {"said": [replace(history.said[0], **changes)]}


def settled_in_another_order(history: History) -> Changes:
    """Let the queue's second message be settled before the first."""
    first = replace(history.said[0], kept=[1], settled_late=[9])
    return {"said": [first, replace(first, text="another", kept=[2], settled_late=[8])]}


def stopped(history: History, **changes: Any) -> Changes:
    """Let the agent be asked to stop its command."""
    stop = StopPost(
        agent_id="k8s",
        connection_id="c1",
        command_id=history.commands[0].command_id,
        incarnation=1,
        welcomed=True,
        command=history.reports[0].before,
    )
    return {"stops": [replace(stop, **changes)]}


SECOND: Changes = {"command_id": "k2", "seq": 10**9}
PENDING_BEFORE: Changes = {"command_id": "k0", "seq": 0, "status": "pending", "waits_since": 0.0}
PENDING_AFTER: Changes = {**SECOND, "status": "pending", "priority": 5, "waits_since": 0.0}
WRONG: list[tuple[str, Callable[[History], Changes]]] = [
    ("I1: do-1 was accepted, but has no row", lambda h: submitted_twice(h, command_id="k2", key=None)),
    ("I1: do-1 never ended", lambda h: command(h, status="sent") | {"transitions": h.transitions[:-1]}),
    ("I1: do-1 ended as ['completed', 'failed']", lambda h: transition(h, to_status="failed")),
    ("I2: do-1 was lost", lambda _: {"posts": [], "reports": []}),
    ("I2: do-1 was delivered to k8s, but not accepted", lambda _: {"submissions": []}),
    (
        "I2: do-1 was delivered with another payload",
        lambda h: {"submissions": [replace(h.submissions[0], payload={"n": 2})]},
    ),
    ("I2: do-1 is dead, but has attempts left", lambda h: command(h, status="dead")),
    ("I3: do-1 arrived with attempt 1 after 1", lambda h: {"posts": [*h.posts, replace(h.posts[0], begun_at=10**9)]}),
    ("I3: attempt 1 of do-1 may have reached its agent, but does not count", lambda h: returned(h, attempt=0)),
    ("I3: attempt 1 of do-1 reached nobody, but counts", lambda h: returned(h, cause="it was refused by the gateway")),
    ("I3: do-1 was claimed for attempt 3 too soon", claimed_too_soon),
    ("I3: k8s got more over c1, although it says nothing", lambda h: post(h, silent_seconds=60.0)),
    ("I3: k8s got more over c1, although it says nothing", lambda h: post(h, mute_before=2)),
    ("I3: do-1 has more attempts than 0", lambda h: command(h, max_attempts=0)),
    ("I3: do-1 named attempt 2, not 1", renamed_post),
    ("I4: k0 was overtaken", lambda h: queue(h, PENDING_BEFORE, {})),
    ("I4: k2 was overtaken", lambda h: queue(h, {}, PENDING_AFTER)),
    ("I4: a post to k8s is out of order", disordered_post),
    ("I4: k8s got a command over c1 before its welcome", lambda h: post(h, welcomed=False)),
    ("I4: do-1 waits 3600 s for its ack", lambda h: queue(h, {"ack_seconds_left": 3600.0})),
    ("I5: 2 commands are in flight to k8s", lambda h: queue(h, {}, SECOND)),
    (
        "I5: 2 commands are in flight in one session of k8s",
        lambda h: queue(replace(h, **agent(h, mode="silent")), {}, SECOND),
    ),
    ("I5: two posts at once over c1", two_posts_at_once),
    ("I6: do-1 went from None to sent", lambda h: {"transitions": [replace(h.transitions[1], from_status=None)]}),
    ("I6: do-1 went from completed to acknowledged", lambda h: transition(h, to_status="acknowledged")),
    ("I7: ack (attempt 1, epoch 1)", ack_of_first_attempt),
    ("I7: do-1 became completed when its agent said what it executes", resumed_wrongly),
    ("I7: complete (attempt None, epoch 1)", lambda h: report(h, after=h.reports[0].before, logged_warning=True)),
    ("I8: $disconnect over c1 of k8s changed the agent", lambda h: event(h, connection_id=None)),
    ("I8: $disconnect over c1 of k8s lowered the epoch", lambda h: event(h, epoch=0)),
    (
        "I8: message over c1 of k8s changed the agent, whose connection is None",
        lambda h: message_event(h, before=None, after="c1", epoch=0),
    ),
    (
        "I8: message over c1 of k8s, the last one, made another connection current",
        lambda h: message_event(h, before=None, after="c2", epoch=1),
    ),
    (
        "I8: message over c1 of k8s changed the connection",
        lambda h: message_event(h, before="c1", after="c2", epoch=0),
    ),
    ("I8: 6 posts found c1 gone", lambda _: {"posts_to_gone": Counter({"c1": 6})}),
    ("I8: a claim was posted over c1, not c9", lambda h: agent(h, connection_id="c9")),
    ("I9: complete of do-1 by batch changed another agent's command", lambda h: report(h, agent_id="batch")),
    ("I9: complete of do-1 by k8s also changed ('k2',)", lambda h: report(h, others_changed=("k2",))),
    (
        "I9: complete of do-1 by k8s changed nothing, but was logged as success",
        lambda h: without_effect(h, logged_warning=True),
    ),
    (
        "I9: complete of do-1 by k8s changed nothing, without a warning",
        lambda h: without_effect(h, logged_success=False),
    ),
    ("I10: do-1 reused the key of another request", lambda h: submitted_twice(h, body="another")),
    ("I10: one key, two commands: do-1, k2", lambda h: submitted_twice(h, command_id="k2")),
    (
        "I10: the key ('ann', 'key-1') has 2 rows",
        lambda h: {"commands": [*h.commands, replace(h.commands[0], command_id="k2")]},
    ),
    (
        "I10: do-1 was refused, although the request is the same",
        lambda h: submitted_twice(h, outcome="refused", reason="IdempotencyKeyReused"),
    ),
    (
        "I11: f failed without a fault: e",
        lambda _: {"function_errors": [FunctionError(function="f", error="e", fault_injected=False)]},
    ),
    ("I11: 1 passes of a sweep failed", lambda h: swept(h, failed_passes=1)),
    (
        "I12: the times of do-1 are out of order",
        lambda h: command(h, sent_at=h.commands[0].created_at - timedelta(hours=1)),
    ),
    ("I12: time went back at a transition of do-1", lambda h: shifted(h, -1, -3600)),
    ("I13: a transaction was open", lambda h: {"open_transactions": [*h.open_transactions, 1]}),
    ("I14: do-1 was posted after its end", queue),
    ("I14: do-1 was posted after its deliver_by", lambda h: queue(h, {"late": True})),
    ("I14: do-1 was claimed and posted after its cancel", lambda h: queue(h, {"cancelled_before": True})),
    ("I14: do-1 was posted while pending", lambda h: queue(h, {"status": "pending"})),
    ("I15: a sweep left ('k0',) pending", lambda h: swept(h, stuck=("k0",))),
    ("I16: the transitions of do-1 have gaps", lambda h: {"transitions": [h.transitions[0], h.transitions[2]]}),
    ("I16: the transitions of do-1 do not end at failed", lambda h: command(h, status="failed")),
    ("I16: the attempts of do-1 jumped", lambda h: transition(h, attempt=3)),
    ("I16: there are transitions of commands that do not exist", lambda h: transition(h, command_id="k9")),
    ("I17: k8s said", lambda h: said(h, settled=[])),
    ("I17: k8s said", lambda h: said(h, effects=2)),
    ("I17: another was settled before", settled_in_another_order),
    (
        "I17: text was confirmed before it was settled",
        lambda _: {"confirmations": [Confirmation(text="text", settled=False, welcomed=True)]},
    ),
    ("I17: an agent still keeps", lambda _: {"unconfirmed": ["text"]}),
    ("I18: a sweep left an agent that was not asked to stop ('k0',)", lambda h: swept(h, untold=("k0",))),
    ("I18: k8s was asked to stop a command over c1 before its welcome", lambda h: stopped(h, welcomed=False)),
    ("I18: k8s was asked to stop do-1, although nobody wants that", stopped),
    (
        "I19: k8s was deleted, but ('k0',) have not ended",
        lambda _: {"deletions": [Deletion(agent_id="k8s", alive=("k0",))]},
    ),
    ("I19: do-1 was delivered to a new agent", lambda h: post(h, incarnation=2)),
    ("I19: a new agent with the id k8s was asked to stop do-1", lambda h: stopped(h, incarnation=2)),
    ("I20: the feed tells of do-1", lambda h: {"told": [each for each in h.told if each.status != "sent"]}),
    ("I20: the feed tells of do-1", lambda h: {"told": h.told[::-1]}),
    ("I20: the feed tells an event twice", lambda h: {"told": [*h.told, h.told[0]]}),
]
"""Which violation must be found, and in which history"""


def broken(history: History, **changes: Any) -> set[str]:
    """Return the names of the invariants that the changed history breaks."""
    violations = violations_of(replace(history, **changes), Counter())
    return {violation.partition(":")[0] for violation in violations}


def test_a_correct_history_breaks_no_invariant_and_each_one_checks_it(correct: History) -> None:
    """One command, delivered and completed."""
    checks: Counter[str] = Counter()

    assert violations_of(correct, checks) == []
    assert [name for name in INVARIANTS if not checks[name]] == []


@pytest.mark.parametrize(
    ("violation", "changes"), WRONG, ids=[f"{number} {violation}" for number, (violation, _) in enumerate(WRONG)]
)
def test_a_wrong_history_is_refused(correct: History, violation: str, changes: Callable[[History], Changes]) -> None:
    """The expected check must refuse it; others may refuse it too."""
    violations = violations_of(replace(correct, **changes(correct)), Counter())

    assert [each for each in violations if each.startswith(violation)] != [], violations


def test_a_second_delivery_needs_a_reason_and_the_time_for_its_ack(delivered_twice: History) -> None:
    """I3; a command returns early only if its agent reconnects or asks for another attempt."""
    returned = next(each for each in delivered_twice.transitions if each.from_status == "sent")
    index = delivered_twice.transitions.index(returned)
    early = shifted(delivered_twice, index, -60)
    reconnected = [*early["transitions"]]
    reconnected[index] = replace(reconnected[index], cause="not acknowledged before the agent reconnected")

    assert broken(delivered_twice) == set()
    assert broken(delivered_twice, faults=[]) == {"I3"}
    assert broken(delivered_twice, **early) == {"I3"}
    assert broken(delivered_twice, transitions=reconnected) == set()


def test_each_invariant_refuses_something() -> None:
    """Every invariant can fail."""
    assert {violation.partition(":")[0] for violation, _ in WRONG} == set(INVARIANTS)
