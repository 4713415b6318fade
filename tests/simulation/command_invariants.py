"""The invariants of commands and of their history.  Each docstring is the invariant's sentence in docs/guarantees.md."""

from collections import Counter, defaultdict
from itertools import pairwise

from dispatcher.commands.lifecycle import ALIVE, ENDED, TRANSITIONS, Status
from tests.simulation.check import Check, transitions_by_command
from tests.simulation.history import CommandRow, History, RecordedTransition

_LEGAL = {(source, each.target) for each in TRANSITIONS.values() for source in each.sources}
_GUESSED = {"timed_out", "dead", "expired", "cancelled"}
CONFIRMED = "cancelled by its agent"


def accepted_commands_end_once(history: History, check: Check) -> None:
    """Every 202 is committed and reaches exactly one end; a real result may replace an end that the service guessed."""
    committed = {command.command_id for command in history.commands}
    for each in history.submissions:
        if each.outcome == "accepted":
            check(each.command_id in committed, f"{each.action} was accepted, but has no row")
    transitions = transitions_by_command(history)
    for command in history.commands:
        check(command.status in ENDED, f"{command.action} never ended: it is {command.status}")
        ends = [each.to_status for each in transitions[command.command_id] if each.to_status in ENDED]
        once = len(ends) >= 1 and all(end in _GUESSED for end in ends[:-1])
        check(once, f"{command.action} ended as {ends}")


def only_legal_transitions(history: History, check: Check) -> None:
    """Only legal transitions happen; an end is final, except that the agent's real result replaces one that was only guessed.

    A guess is `timed_out`, and after an attempt `dead`, `expired` and a cancel that the agent did not confirm.
    """
    for command_id, transitions in transitions_by_command(history).items():
        confirmed = False
        for each in transitions:
            if each.from_status is None:
                legal = each.to_status in {"pending", "dead"}
            elif each.to_status not in ENDED | ALIVE:  # deleted by hand
                legal = False
            else:
                legal = (Status(each.from_status), Status(each.to_status)) in _LEGAL
            if each.from_status in _GUESSED and each.to_status in {"completed", "failed"}:
                legal = legal and each.attempt > 0 and not confirmed
            confirmed |= each.cause == CONFIRMED
            check(legal, f"{command_id} went from {each.from_status} to {each.to_status}")


def one_key_one_command(history: History, check: Check) -> None:
    """One idempotency key stands for one command: the same request gets the same answer, another request gets 409."""
    first: dict[tuple[str | None, str], tuple[str, str | None]] = {}
    for each in history.submissions:
        if each.key is None:
            continue
        key = (each.operator, each.key)
        if each.outcome == "accepted":
            body, command_id = first.setdefault(key, (each.body, each.command_id))
            check(body == each.body, f"{each.action} reused the key of another request")
            check(command_id == each.command_id, f"one key, two commands: {command_id}, {each.command_id}")
        elif each.outcome == "refused" and each.reason == "IdempotencyKeyReused" and key in first:
            check(first[key][0] != each.body, f"{each.action} was refused, although the request is the same")
    keys = Counter((each.submitted_by, each.idempotency_key) for each in history.commands if each.idempotency_key)
    for key, count in keys.items():
        check(count == 1, f"the key {key} has {count} rows")


def no_row_stops_another(history: History, check: Check) -> None:
    """One bad row or message never stops another: NULL in any column, a payload of any JSON type, an unknown status."""
    for error in history.function_errors:
        check(error.fault_injected, f"{error.function} failed without a fault: {error.error}")
    for delivery_round in history.delivery_rounds:
        if delivery_round.undisturbed:
            failed = delivery_round.failed_passes
            check(failed == 0, f"{failed} passes of a sweep failed")


def times_are_in_order(history: History, check: Check) -> None:
    """A command's times are in order (created, sent, acknowledged, ended) and come from the database's clock."""
    for command in history.commands:
        times = (command.created_at, command.sent_at, command.acknowledged_at, command.completed_at)
        known = [at for at in times if at is not None]
        check(known == sorted(known), f"the times of {command.action} are out of order")
    for earlier, later in pairwise(history.transitions):
        check(earlier.at <= later.at, f"time went back at a transition of {later.command_id}")


def every_transition_is_recorded(history: History, check: Check) -> None:
    """Every transition writes exactly one row of history, in the same transaction."""
    transitions = transitions_by_command(history)
    for command in history.commands:
        _check_chain(command, transitions[command.command_id], check)
    known = {command.command_id for command in history.commands}
    check(set(transitions) <= known, "there are transitions of commands that do not exist")


def the_feed_tells_every_transition(history: History, check: Check) -> None:
    """A reader of the change feed sees every transition once, and those of a command in their order."""
    told: dict[str | None, list[str]] = defaultdict(list)
    for event in history.told:
        told[event.command_id].append(event.type.removeprefix("command."))
    names = {command.command_id: command.action for command in history.commands}
    for command_id, transitions in transitions_by_command(history).items():
        statuses = [
            "accepted" if (each.from_status, each.to_status) == (None, "pending") else each.to_status
            for each in transitions
        ]
        seen = told[command_id]
        check(seen == statuses, f"the feed tells of {names.get(command_id, command_id)} {seen}, and not {statuses}")
    check(len({event.id for event in history.told}) == len(history.told), "the feed tells an event twice")


def _check_chain(command: CommandRow, transitions: list[RecordedTransition], check: Check) -> None:
    """Check that a command's transitions lead without a gap from its acceptance to its status."""
    statuses = [None, *(each.to_status for each in transitions)]
    complete = all(each.from_status == status for each, status in zip(transitions, statuses, strict=False))
    check(complete, f"the transitions of {command.action} have gaps: {transitions}")
    check(statuses[-1] == command.status, f"the transitions of {command.action} do not end at {command.status}")
    given_back = True
    """Whether the last claim's attempt was given back; later it may still be: when the answer to its post comes."""
    for earlier, later in pairwise(transitions):
        steps = {1} if later.to_status == "sent" else {0, -1} if later.from_status == "sent" else {0}
        if later.from_status == "pending" and earlier.from_status == "sent" and not given_back:
            steps |= {step - 1 for step in steps}
        check(later.attempt - earlier.attempt in steps, f"the attempts of {command.action} jumped at {later.to_status}")
        given_back = later.attempt < earlier.attempt


def a_new_agent_inherits_nothing(history: History, check: Check) -> None:
    """The commands of a deleted agent end with it; a new agent of the same id gets nothing of it."""
    for deletion in history.deletions:
        check(not deletion.alive, f"{deletion.agent_id} was deleted, but {deletion.alive} have not ended")
    accepted: dict[tuple[str, str], set[int | None]] = defaultdict(set)
    for each in history.submissions:
        if each.outcome != "refused":
            accepted[each.agent_id, each.action].add(each.incarnation)
    for post in history.posts:
        for posted in post.commands:
            own = accepted[post.agent_id, posted.action] & {None, post.incarnation}
            check(own, f"{posted.action} was delivered to a new agent with the id {post.agent_id}")
    for stop in history.stops:
        own_stop = stop.command is not None and stop.command.incarnation in {None, stop.incarnation}
        check(own_stop, f"a new agent with the id {stop.agent_id} was asked to stop {stop.command_id}")
