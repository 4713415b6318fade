"""The invariants I1 to I16 of docs/guarantees.md, checked on a history.  Each docstring is the invariant's sentence."""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

from dispatcher.commands.lifecycle import ENDED, TRANSITIONS, Status
from dispatcher.platform.gateway import Posted
from tests.simulation.history import CommandRow, History, Post, QueuedCommand, RecordedTransition
from tests.simulation.report_rules import expected_status

_LEGAL = {(source, each.target) for each in TRANSITIONS.values() for source in each.sources}
_ENDED_WITHOUT_DELIVERY = {"expired", "cancelled", "dead"}
LEASE_SECONDS = 30
ACK_SECONDS_LEAST = {"acknowledging": 17, "batching": 17, "silent": 4}
"""20 s less a tenth of jitter, and some time between two looks at the clock; of a silent agent the execution timeout."""
ACK_SECONDS_MOST = 330
"""5 minutes, and a tenth of jitter."""
RETURNED_EARLY = ("before the agent reconnected", "asks for another")
"""Causes for which a delivered command may return to the queue before its ack deadline."""


class Check:
    """Counts what is checked, and collects what does not hold."""

    def __init__(self) -> None:
        self.count = 0
        self.violations: list[str] = []

    def __call__(self, holds: object, sentence: str) -> None:
        """Check one condition; the sentence says what is wrong if it does not hold."""
        self.count += 1
        if not holds:
            self.violations.append(sentence)


def _transitions_by_command(history: History) -> dict[str, list[RecordedTransition]]:
    found: dict[str, list[RecordedTransition]] = defaultdict(list)
    for transition in history.transitions:
        found[transition.command_id].append(transition)
    return found


def _posts_by_command(posts: list[Post]) -> dict[str, list[Post]]:
    found: dict[str, list[Post]] = defaultdict(list)
    for post in posts:
        for command in post.commands:
            found[command.command_id].append(post)
    return found


def _arrivals(history: History) -> dict[str, list[Post]]:
    return _posts_by_command([post for post in history.posts if post.arrived])


def _attempt(post: Post, command_id: str) -> int:
    return next(command.attempt for command in post.commands if command.command_id == command_id)


def accepted_commands_end_once(history: History, check: Check) -> None:
    """Every 202 is committed and reaches exactly one end; a real result may replace `timed_out`."""
    committed = {command.command_id for command in history.commands}
    for each in history.submissions:
        if each.outcome == "accepted":
            check(each.command_id in committed, f"{each.action} was accepted, but has no row")
    transitions = _transitions_by_command(history)
    for command in history.commands:
        check(command.status in ENDED, f"{command.action} never ended: it is {command.status}")
        ends = [each.to_status for each in transitions[command.command_id] if each.to_status in ENDED]
        once = len(ends) == 1 or (len(ends) == 2 and ends[0] == "timed_out")
        check(once, f"{command.action} ended as {ends}")


def nothing_is_lost_or_invented(history: History, check: Check) -> None:
    """No accepted command ends undelivered without a reason, and no command is delivered that was not accepted."""
    arrivals, posts = _arrivals(history), _posts_by_command(history.posts)
    reported = {report.command_id for report in history.reports}
    set_aside = {
        each.command_id for each in history.transitions if (each.from_status, each.to_status) == (None, "dead")
    }
    for command in history.commands:
        too_large = any(post.answer is Posted.TOO_LARGE for post in posts[command.command_id])
        check(
            command.status in _ENDED_WITHOUT_DELIVERY
            or (command.status == "failed" and too_large)
            or command.command_id in arrivals
            or command.command_id in reported,
            f"{command.action} was lost: it is {command.status}, and did not reach its agent",
        )
        used_up = command.attempt == command.max_attempts or command.command_id in set_aside
        check(command.status != "dead" or used_up, f"{command.action} is dead, but has attempts left")
    submitted = {(each.agent_id, each.action): each for each in history.submissions if each.outcome != "refused"}
    for post in history.posts:
        for posted in post.commands:
            source = submitted.get((post.agent_id, posted.action))
            check(source is not None, f"{posted.action} was delivered to {post.agent_id}, but not accepted")
            same = source is None or posted.payload == source.payload
            check(same, f"{posted.action} was delivered with another payload")


def duplicates_have_a_larger_attempt(history: History, check: Check) -> None:
    """A second delivery has the same commandId and a larger attempt, and attempts never exceed max_attempts.

    Every claim counts as an attempt.  An attempt that may have arrived keeps its time for the ack.  A second delivery has a
    reason before it: a fault, a lost answer or a new connection.
    """
    arrivals = _arrivals(history)
    for command_id, posts in arrivals.items():
        for earlier, later in pairwise(posts):
            first, second = _attempt(earlier, command_id), _attempt(later, command_id)
            check(first < second, f"{command_id} arrived with attempt {second} after {first}")
            reasons = [
                fault
                for fault in history.faults
                if earlier.begun_at < fault.at < later.begun_at and fault.agent_id in {None, earlier.agent_id}
            ]
            check(bool(reasons), f"{command_id} arrived again, attempt {second}, without a reason")
    claims = {(each.command_id, each.attempt): each.at for each in history.transitions if each.to_status == "sent"}
    for each in history.transitions:
        if (each.from_status, each.to_status) == ("sent", "pending"):
            modes = [
                post.agent.mode for post in arrivals[each.command_id] if _attempt(post, each.command_id) == each.attempt
            ]
            least = min((ACK_SECONDS_LEAST[mode] for mode in modes), default=0)
            waited = (each.at - claims.get((each.command_id, each.attempt), each.at)).total_seconds()
            early = any(cause in each.cause for cause in RETURNED_EARLY)
            check(
                early or waited >= least,
                f"{each.command_id} reached its agent, and returned to the queue after {waited:.1f} s",
            )
    attempts = Counter(each.command_id for each in history.transitions if each.to_status == "sent")
    for command in history.commands:
        most = command.max_attempts
        check(command.attempt <= most, f"{command.action} has more attempts than {most}")
        counted = command.attempt == attempts[command.command_id]
        check(counted, f"{command.action} has attempt {command.attempt}, but {attempts[command.command_id]} claims")
    for post in history.posts:
        for posted in post.commands:
            named = posted.named_attempt in {None, posted.attempt}
            check(named, f"{posted.action} named attempt {posted.named_attempt}, not {posted.attempt}")


def _rank(queued: QueuedCommand) -> tuple[int, int]:
    return -queued.priority, queued.seq


def deliveries_keep_their_order(history: History, check: Check) -> None:
    """First deliveries to one agent follow the order of acceptance within a priority; delays are limited.

    Precisely: when the first message of a claim is posted, no earlier command (by priority and sequence) is pending, due and
    free; for a silent agent, a command is not free while another one of its session is in flight.  And no command in flight
    waits longer for its ack than the longest ack deadline.
    """
    for post in history.posts:
        queue = {queued.command_id: queued for queued in post.queue}
        ranks = [_rank(queue[each.command_id]) for each in post.commands if each.command_id in queue]
        check(ranks == sorted(ranks), f"a post to {post.agent_id} is out of order")
        if not post.first_of_lease or not ranks:
            continue
        posted = sorted(each.command_id for each in post.commands)
        busy = {queued.session_id for queued in post.queue if queued.status == "sent"}
        for queued in post.queue:
            free = post.agent.mode != "silent" or queued.session_id not in busy
            overtaken = queued.status == "pending" and queued.due and free and _rank(queued) < ranks[-1]
            check(not overtaken, f"{queued.command_id} was overtaken by {posted}")
            if queued.ack_seconds_left is not None and post.agent.mode != "silent":
                limited = queued.ack_seconds_left <= ACK_SECONDS_MOST
                check(limited, f"{queued.command_id} waits {queued.ack_seconds_left:.0f} s for its ack")


def one_lease_and_no_more_than_the_window(history: History, check: Check) -> None:
    """One process at a time delivers to an agent, and no more is in flight to an agent than its window allows."""
    for post in history.posts:
        sent = [queued for queued in post.queue if queued.status == "sent"]
        if post.agent.mode == "silent":
            most = max(Counter(queued.session_id for queued in sent).values(), default=0)
            check(most <= 1, f"{most} commands are in flight in one session of {post.agent_id}")
        else:
            check(len(sent) <= post.agent.window, f"{len(sent)} commands are in flight to {post.agent_id}")
    for outer, inner in pairwise(history.posts):
        at_once = outer.begun_at < inner.begun_at < outer.ended_at
        if at_once and outer.connection_id == inner.connection_id:
            expired = inner.clock - outer.clock >= LEASE_SECONDS
            check(expired and inner.agent.lease != outer.agent.lease, f"two posts at once over {inner.connection_id}")


def only_legal_transitions(history: History, check: Check) -> None:
    """Only legal transitions happen; an end is final, except that a real result from the agent replaces `timed_out`."""
    for each in history.transitions:
        if each.from_status is None:
            legal = each.to_status in {"pending", "dead"}
        else:
            legal = (Status(each.from_status), Status(each.to_status)) in _LEGAL
        check(legal, f"{each.command_id} went from {each.from_status} to {each.to_status}")


def old_results_settle_nothing_new(history: History, check: Check) -> None:
    """A report about an old attempt never ends a newer attempt wrongly; a late real result counts."""
    for report in history.reports:
        before = report.before
        if before is None or before.agent_id != report.agent_id:
            continue
        expected = expected_status(report, before)
        after = report.after.status if report.after else None
        possible = {expected} if report.finished else {expected, before.status}
        check(after in possible, f"{report.kind} (attempt {report.attempt}, epoch {report.epoch}) on {before}: {after}")


def old_connections_change_nothing(history: History, check: Check) -> None:
    """An old connection changes neither presence nor routing: the last connection wins, by its epoch."""
    for event in history.connection_events:
        before, after = event.before, event.after
        name = f"{event.kind} over {event.connection_id} of {event.agent_id}"
        check(after.epoch >= before.epoch, f"{name} lowered the epoch")
        same_epoch = after.epoch == before.epoch
        if event.kind == "message" and before.connection_id is None and event.epoch == before.epoch:
            current = after.connection_id in {None, event.connection_id}
            check(current and same_epoch, f"{name}, the last one, made another connection current")
        elif event.connection_id != before.connection_id:
            check(after == before, f"{name} changed the agent, whose connection is {before.connection_id}")
        elif event.kind == "message":
            check(after.connection_id == event.connection_id and same_epoch, f"{name} changed the connection")
    for post in history.posts:
        if post.first_of_lease:
            current = post.connection_id == post.agent.connection_id
            check(current, f"a claim was posted over {post.connection_id}, not {post.agent.connection_id}")


def only_the_owner_settles(history: History, check: Check) -> None:
    """Only the agent that owns a command can report about it; a report that changes no row is logged as a warning."""
    for report in history.reports:
        name = f"{report.kind} of {report.command_id} by {report.agent_id}"
        check(not report.others_changed, f"{name} also changed {report.others_changed}")
        changed = report.after != report.before
        if report.before is not None and report.before.agent_id != report.agent_id:
            check(not changed, f"{name} changed another agent's command")
        effective = changed or report.kind == "progress"
        check(effective or not report.logged_success, f"{name} changed nothing, but was logged as success")
        warned = report.logged_warning or not report.finished
        check(effective or warned, f"{name} changed nothing, without a warning")


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


def no_transaction_during_a_network_call(history: History, check: Check) -> None:
    """No transaction is open during a network call."""
    for count in history.open_transactions:
        check(count == 0, "a transaction was open during a network call")


def nothing_is_delivered_too_late(history: History, check: Check) -> None:
    """No command is delivered after its deliver_by or after its cancellation was committed."""
    for post in history.posts:
        queue = {queued.command_id: queued for queued in post.queue}
        for posted in post.commands:
            queued = queue.get(posted.command_id)
            check(queued is not None, f"{posted.action} was posted after its end")
            check(queued is None or queued.status == "sent", f"{posted.action} was posted while pending")
            check(queued is None or not queued.late, f"{posted.action} was posted after its deliver_by")


def nothing_due_waits_for_two_sweeps(history: History, check: Check) -> None:
    """While its agent is connected, a due command waits no longer than two sweeps.

    Precisely, and stronger: an undisturbed sweep leaves nothing pending that is due, if the agent's window is open and its
    connection has worked for longer than a handshake takes.  Nor does a submission to such an agent.
    """
    for each in history.delivery_rounds:
        if each.undisturbed:
            check(not each.stuck, f"a {each.kind} left {each.stuck} pending, although nothing delays them")


def every_transition_is_recorded(history: History, check: Check) -> None:
    """Every transition writes exactly one row of history, in the same transaction."""
    transitions = _transitions_by_command(history)
    for command in history.commands:
        _check_chain(command, transitions[command.command_id], check)
    known = {command.command_id for command in history.commands}
    check(set(transitions) <= known, "there are transitions of commands that do not exist")


def _check_chain(command: CommandRow, transitions: list[RecordedTransition], check: Check) -> None:
    """Check that a command's transitions lead without a gap from its acceptance to its status."""
    statuses = [None, *(each.to_status for each in transitions)]
    complete = all(each.from_status == status for each, status in zip(transitions, statuses, strict=False))
    check(complete, f"the transitions of {command.action} have gaps: {transitions}")
    check(statuses[-1] == command.status, f"the transitions of {command.action} do not end at {command.status}")
    attempts = [each.attempt for each in transitions]
    check(attempts == sorted(attempts), f"the attempts of {command.action} went back")


INVARIANTS: dict[str, Callable[[History, Check], None]] = {
    "I1": accepted_commands_end_once,
    "I2": nothing_is_lost_or_invented,
    "I3": duplicates_have_a_larger_attempt,
    "I4": deliveries_keep_their_order,
    "I5": one_lease_and_no_more_than_the_window,
    "I6": only_legal_transitions,
    "I7": old_results_settle_nothing_new,
    "I8": old_connections_change_nothing,
    "I9": only_the_owner_settles,
    "I10": one_key_one_command,
    "I11": no_row_stops_another,
    "I12": times_are_in_order,
    "I13": no_transaction_during_a_network_call,
    "I14": nothing_is_delivered_too_late,
    "I15": nothing_due_waits_for_two_sweeps,
    "I16": every_transition_is_recorded,
}


def violations_of(history: History, checks: Counter[str]) -> list[str]:
    """Check every invariant; count the checks of each, and return what is violated: "I4: do-1 was overtaken by do-2"."""
    violations: list[str] = []
    for name, invariant in INVARIANTS.items():
        check = Check()
        invariant(history, check)
        checks[name] += check.count
        violations += [f"{name}: {sentence}" for sentence in check.violations]
    for command in history.commands:  # is called by its action, as in the log
        violations = [violation.replace(command.command_id, command.action) for violation in violations]
    return list(dict.fromkeys(violations))
