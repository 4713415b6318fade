"""The checker itself: a correct history breaks no invariant, and each change that makes it wrong is noticed."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.simulation.fault_scenarios import Scenario, missing_ack, play_scenario
from tests.simulation.history import FunctionError, History
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


def event(history: History, **changes: Any) -> Changes:
    """Change the agent's state after the old connection's event."""
    (before,) = history.connection_events
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
    return report(history, kind="ack", attempt=1, before=second, after=replace(second, status="acknowledged"))


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


def current_again(history: History) -> Changes:
    """Let an old connection become the agent's connection by a message."""
    (old,) = history.connection_events
    before = replace(old.before, connection_id=None)
    after = replace(before, connection_id=old.connection_id)
    return {"connection_events": [replace(old, kind="message", before=before, after=after)]}


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


SECOND: Changes = {"command_id": "k2", "seq": 10**9}
PENDING_BEFORE: Changes = {"command_id": "k0", "seq": 0, "status": "pending"}
PENDING_AFTER: Changes = {**SECOND, "status": "pending", "priority": 5}
REUSED = "IdempotencyKeyReused"
WRONG: list[tuple[str, str, Callable[[History], Changes]]] = [
    ("I1", "accepted, but without a row", lambda h: submitted_twice(h, command_id="k2", key=None)),
    ("I1", "no end", lambda h: command(h, status="sent") | {"transitions": h.transitions[:-1]}),
    ("I1", "two ends", lambda h: command(h, status="failed") | transition(h, to_status="failed")),
    ("I2", "completed, but not delivered", lambda _: {"posts": [], "reports": []}),
    ("I2", "delivered, but not accepted", lambda _: {"submissions": []}),
    ("I2", "another payload", lambda h: {"submissions": [replace(h.submissions[0], payload={"n": 2})]}),
    ("I2", "dead, with attempts left", lambda h: command(h, status="dead")),
    ("I3", "twice with one attempt", lambda h: {"posts": [*h.posts, replace(h.posts[0], begun_at=10**9)]}),
    ("I3", "an attempt without a claim", lambda h: command(h, attempt=2)),
    ("I3", "more attempts than allowed", lambda h: command(h, max_attempts=0)),
    ("I3", "a message names another attempt", renamed_post),
    ("I4", "overtaken by a later one", lambda h: queue(h, PENDING_BEFORE, {})),
    ("I4", "overtaken by a lower priority", lambda h: queue(h, {}, PENDING_AFTER)),
    ("I4", "out of order in one post", disordered_post),
    ("I4", "an ack deadline without a limit", lambda h: queue(h, {"ack_seconds_left": 3600.0})),
    ("I5", "more in flight than the window", lambda h: queue(h, {}, SECOND)),
    (
        "I5",
        "two in flight in a silent agent's session",
        lambda h: queue(replace(h, **agent(h, mode="silent")), {}, SECOND),
    ),
    ("I5", "two posts at once", two_posts_at_once),
    ("I6", "sent before it was pending", lambda h: {"transitions": [replace(h.transitions[1], from_status=None)]}),
    ("I6", "acknowledged after its end", lambda h: transition(h, to_status="acknowledged")),
    ("I7", "an ack of an old attempt counts", ack_of_first_attempt),
    ("I7", "a late result is ignored", lambda h: report(h, after=h.reports[0].before, logged_warning=True)),
    ("I8", "an old $disconnect changes the connection", lambda h: event(h, connection_id=None)),
    ("I8", "the epoch goes back", lambda h: event(h, epoch=0)),
    ("I8", "an old connection becomes current by a message", current_again),
    ("I8", "a claim is posted over an old connection", lambda h: agent(h, connection_id="c9")),
    ("I9", "another agent settles it", lambda h: report(h, agent_id="batch")),
    ("I9", "a report changes others too", lambda h: report(h, others_changed=("k2",))),
    ("I9", "success is logged, but nothing changed", lambda h: without_effect(h, logged_warning=True)),
    ("I9", "nothing changed, and no warning", lambda h: without_effect(h, logged_success=False)),
    ("I10", "one key, two requests", lambda h: submitted_twice(h, body="another")),
    ("I10", "one key, two commands", lambda h: {"commands": [*h.commands, replace(h.commands[0], command_id="k2")]}),
    ("I10", "the same request is refused", lambda h: submitted_twice(h, outcome="refused", reason=REUSED)),
    (
        "I11",
        "a function fails without a fault",
        lambda _: {"function_errors": [FunctionError(function="f", error="e", fault_injected=False)]},
    ),
    ("I11", "a pass of a sweep fails", lambda h: swept(h, failed_passes=1)),
    ("I12", "sent before it was created", lambda h: command(h, sent_at=h.commands[0].created_at - timedelta(hours=1))),
    ("I12", "time goes back", lambda h: shifted(h, -1, -3600)),
    ("I13", "a transaction is open during a post", lambda h: {"open_transactions": [*h.open_transactions, 1]}),
    ("I14", "posted after its end", queue),
    ("I14", "posted after its deliver_by", lambda h: queue(h, {"late": True})),
    ("I14", "posted while pending", lambda h: queue(h, {"status": "pending"})),
    ("I15", "a sweep leaves a due command", lambda h: swept(h, stuck=("k1",))),
    ("I16", "a transition without history", lambda h: {"transitions": [h.transitions[0], h.transitions[2]]}),
    ("I16", "history ends at another status", lambda h: command(h, status="failed")),
    ("I16", "history of an unknown command", lambda h: transition(h, command_id="k9")),
]


def broken(history: History, **changes: Any) -> set[str]:
    """Return the names of the invariants that the changed history breaks."""
    violations = violations_of(replace(history, **changes), Counter())
    return {violation.partition(":")[0] for violation in violations}


def test_a_correct_history_breaks_nothing_and_every_invariant_checks_it(correct: History) -> None:
    """One command, delivered and completed."""
    checks: Counter[str] = Counter()

    assert violations_of(correct, checks) == []
    assert [name for name in INVARIANTS if not checks[name]] == []


@pytest.mark.parametrize(
    ("name", "changes"), [(n, c) for n, _, c in WRONG], ids=[f"{n}: {what}" for n, what, _ in WRONG]
)
def test_a_wrong_history_is_refused(correct: History, name: str, changes: Callable[[History], Changes]) -> None:
    """By the invariant that it breaks, whichever others it breaks too."""
    assert name in broken(correct, **changes(correct))


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
    assert {name for name, _, _ in WRONG} == set(INVARIANTS)
