"""What must hold in every history.  Each function's docstring is the invariant's sentence in docs/guarantees.md."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from dispatcher.commands.lifecycle import ENDED, TRANSITIONS, Status
from tests.simulation.record import Final, Moved, Post, Queued, Record
from tests.simulation.reports import check_report

_LEGAL = {(source, each.target) for each in TRANSITIONS.values() for source in each.sources}
_EXPLAINED = {"expired", "cancelled", "dead"}
LEASE_SECONDS = 30
ACK_SECONDS_LEAST = {"acknowledging": 17, "batching": 17, "silent": 4}
"""20 s less a tenth of jitter, and what passes between two looks at the clock; of a silent agent the execution timeout."""
ACK_SECONDS_MOST = 330
"""5 minutes, and a tenth of jitter."""


class Check:
    """Counts what is checked, and collects what does not hold."""

    def __init__(self) -> None:
        self.count = 0
        self.violations: list[str] = []

    def __call__(self, sentence: str, *, holds: bool) -> None:
        """Check one thing; the sentence says what is wrong where it does not hold."""
        self.count += 1
        if not holds:
            self.violations.append(sentence)


def _by_command(record: Record) -> dict[str, list[Moved]]:
    found: dict[str, list[Moved]] = {}
    for moved in record.history:
        found.setdefault(moved.command_id, []).append(moved)
    return found


def _arrivals(record: Record) -> dict[str, list[Post]]:
    found: dict[str, list[Post]] = {}
    for post in record.posts:
        if post.arrived:
            for carried in post.carried:
                found.setdefault(carried.command_id, []).append(post)
    return found


def _attempt(post: Post, command_id: str) -> int:
    return next(carried.attempt for carried in post.carried if carried.command_id == command_id)


def every_202_ends_once(record: Record, check: Check) -> None:
    """Every 202 is committed, and reaches exactly one end: completed, failed, expired, cancelled or dead (attempts used up)."""
    for each in record.submissions:
        if each.outcome == "accepted":
            check(f"{each.action} was accepted, but has no row", holds=(each.command_id or "") in record.finals)
    moves = _by_command(record)
    for final in record.finals.values():
        check(f"{final.action} never ended: it is {final.status}", holds=final.status in ENDED)
        ends = [moved.to_status for moved in moves.get(final.command_id, []) if moved.to_status in ENDED]
        check(f"{final.action} ended as {ends}", holds=len(ends) == 1 or (len(ends) == 2 and ends[0] == "timed_out"))


def nothing_is_lost_or_invented(record: Record, check: Check) -> None:
    """Lost = accepted, never delivered and not explained by its end = 0.  Invented = delivered but never accepted = 0."""
    arrivals = _arrivals(record)
    reported = {told.command_id for told in record.told}
    for final in record.finals.values():
        explained = final.status in _EXPLAINED or "does not pass the gateway" in (final.error_message or "")
        check(
            f"{final.action} was lost: it is {final.status}, and reached nobody",
            holds=explained or final.command_id in arrivals or final.command_id in reported,
        )
        used_up = final.attempt == final.max_attempts or "set aside" in (final.error_message or "")
        check(f"{final.action} is dead with attempts left", holds=final.status != "dead" or used_up)
    submitted = {(each.agent_id, each.action): each for each in record.submissions if each.outcome != "refused"}
    for post in record.posts:
        for carried in post.carried:
            source = submitted.get((post.agent_id, str(carried.action)))
            check(f"{carried.action} was invented for {post.agent_id}", holds=source is not None)
            same = source is None or carried.payload == source.payload
            check(f"{carried.action} went out with another payload", holds=same)


def duplicates_have_a_larger_attempt(record: Record, check: Check) -> None:
    """A duplicate delivery carries the same commandId and a strictly larger attempt, and attempts never pass max_attempts.

    Every claim counts as an attempt, and one that may have arrived has its time to be acknowledged.  A duplicate has its
    reason in a fault, a lost answer or a new connection before it.
    """
    arrivals = _arrivals(record)
    for command_id, posts in arrivals.items():
        for earlier, later in pairwise(posts):
            first, second = _attempt(earlier, command_id), _attempt(later, command_id)
            check(f"{command_id} came with attempt {second} after {first}", holds=first < second)
            agents = {None, earlier.agent_id}
            reasons = [t for t in record.troubles if earlier.at < t.at < later.at and t.agent_id in agents]
            check(f"{command_id} came again, attempt {second}, without any reason", holds=bool(reasons))
    given_up = [moved for moved in record.history if (moved.from_status, moved.to_status) == ("sent", "pending")]
    claimed = {(moved.command_id, moved.attempt): moved.at for moved in record.history if moved.to_status == "sent"}
    for moved in given_up:
        here = [
            post for post in arrivals.get(moved.command_id, []) if _attempt(post, moved.command_id) == moved.attempt
        ]
        least = min((ACK_SECONDS_LEAST[post.dialect] for post in here), default=0)
        said = any(cause in moved.cause for cause in ("before the agent reconnected", "asks for another"))
        waited = (moved.at - claimed.get((moved.command_id, moved.attempt), moved.at)).total_seconds()
        check(
            f"{moved.command_id} reached its agent, and was given back after {waited:.1f} s",
            holds=said or waited >= least,
        )
    claims = Counter(moved.command_id for moved in record.history if moved.to_status == "sent")
    for final in record.finals.values():
        check(f"{final.action} has more attempts than {final.max_attempts}", holds=final.attempt <= final.max_attempts)
        check(f"{final.action}: attempt {final.attempt}", holds=final.attempt == claims[final.command_id])
    for post in record.posts:
        for carried in post.carried:
            named = carried.named_attempt in {None, carried.attempt}
            check(f"{carried.action} named attempt {carried.named_attempt}, not {carried.attempt}", holds=named)


def _rank(queued: Queued) -> tuple[int, int]:
    return -queued.priority, queued.seq


def deliveries_keep_their_order(record: Record, check: Check) -> None:
    """First deliveries to one agent follow acceptance order within a priority; holding back is bounded.

    Precisely: when a claim begins to be posted, nothing that goes before it by (priority, sequence) is pending, due, and
    free to be delivered (a silent agent's session is busy with one in flight); and no command in flight may stay
    unacknowledged for longer than the longest ack deadline.
    """
    for post in record.posts:
        queue = {queued.command_id: queued for queued in post.queue}
        ranks = [_rank(queue[each.command_id]) for each in post.carried if each.command_id in queue]
        check(f"a post to {post.agent_id} is out of order", holds=ranks == sorted(ranks))
        if not post.first or not ranks:
            continue
        carried = {each.command_id for each in post.carried}
        busy = {queued.session_id for queued in post.queue if queued.status == "sent"}
        for queued in post.queue:
            free = post.dialect != "silent" or queued.session_id not in busy
            ahead = queued.status == "pending" and queued.due and free and _rank(queued) < ranks[-1]
            check(f"{queued.command_id} was overtaken by {sorted(carried)}", holds=not ahead)
            if queued.held is not None and post.dialect != "silent":
                check(f"{queued.command_id} holds for {queued.held:.0f} s", holds=queued.held <= ACK_SECONDS_MOST)


def one_lease_and_no_more_than_the_window(record: Record, check: Check) -> None:
    """At most one live lease per agent, and no more in flight to an agent than its window."""
    for post in record.posts:
        sent = [queued for queued in post.queue if queued.status == "sent"]
        if post.dialect == "silent":
            most = max(Counter(queued.session_id for queued in sent).values(), default=0)
            check(f"{most} are in flight in one session of {post.agent_id}", holds=most <= 1)
        else:
            check(f"{len(sent)} are in flight to {post.agent_id}", holds=len(sent) <= post.window)
    for outer, inner in pairwise(record.posts):
        if outer.at < inner.at < outer.until and outer.connection_id == inner.connection_id:
            over = inner.clock - outer.clock >= LEASE_SECONDS
            check(f"two posts at once over {inner.connection_id}", holds=over and inner.lease != outer.lease)


def only_legal_transitions(record: Record, check: Check) -> None:
    """Only legal transitions; an end is final, except that a real result from the agent replaces `timed_out`."""
    for moved in record.history:
        if moved.from_status is None:
            legal = moved.to_status in {"pending", "dead"}
        else:
            legal = (Status(moved.from_status), Status(moved.to_status)) in _LEGAL
        check(f"{moved.command_id} went from {moved.from_status} to {moved.to_status}", holds=legal)


def old_results_settle_nothing_new(record: Record, check: Check) -> None:
    """A result for an old attempt never settles a newer one wrongly; a late genuine result counts."""
    for told in record.told:
        if told.before is not None and told.before.agent_id == told.agent_id:
            check_report(told, told.before, check)


def old_connections_change_nothing(record: Record, check: Check) -> None:
    """An old connection never changes presence or routing: last connect wins, by connection epoch."""
    for visit in record.visits:
        name = f"{visit.what} over {visit.connection_id} of {visit.agent_id}"
        check(f"{name} lowered the epoch", holds=visit.after.epoch >= visit.before.epoch)
        forgotten = visit.before.connection_id is None and visit.epoch == visit.before.epoch
        if visit.what == "message" and forgotten:
            same = visit.after.connection_id in {None, visit.connection_id} and visit.after.epoch == visit.before.epoch
            check(f"{name}, the last one, changed the route to another", holds=same)
        elif visit.connection_id != visit.before.connection_id:
            check(f"{name} changed the route of {visit.before.connection_id}", holds=visit.after == visit.before)
        elif visit.what == "message":
            same = visit.after.connection_id == visit.connection_id and visit.after.epoch == visit.before.epoch
            check(f"{name} changed the route", holds=same)
    for post in record.posts:
        if post.first:
            check(
                f"a claim was posted over {post.connection_id}, not {post.current}",
                holds=post.connection_id == post.current,
            )


def only_the_owner_settles(record: Record, check: Check) -> None:
    """Only the agent that owns a command settles it; an update that touched no row is reported, never logged as success."""
    for told in record.told:
        check(f"a report of {told.agent_id} also changed {told.others}", holds=not told.others)
        if told.before is not None and told.before.agent_id != told.agent_id:
            check(f"{told.agent_id} settled {told.command_id} of another", holds=told.after == told.before)
        changed = told.after != told.before
        touched = changed or told.kind == "progress"
        check(
            f"{told.kind} of {told.command_id} moved nothing, logged as success",
            holds=touched or not told.claimed_success,
        )
        check(
            f"{told.kind} of {told.command_id} moved nothing, and nobody said so",
            holds=touched or told.warned or not told.certain,
        )


def one_key_one_command(record: Record, check: Check) -> None:
    """One idempotency key, one command: same body gives the same 202, another body gives 409."""
    first: dict[tuple[str | None, str], tuple[str, str | None]] = {}
    for each in record.submissions:
        if each.key is None:
            continue
        key = (each.operator, each.key)
        if each.outcome == "accepted":
            body, command_id = first.setdefault(key, (each.body, each.command_id))
            check(f"{each.action} reused the key of another body", holds=body == each.body)
            check(f"one key, two commands: {command_id}, {each.command_id}", holds=command_id == each.command_id)
        elif each.outcome == "refused" and each.reason == "IdempotencyKeyReused" and key in first:
            check(f"{each.action} was refused although its body is the same", holds=first[key][0] != each.body)
    keyed = Counter(
        (final.submitted_by, final.idempotency_key) for final in record.finals.values() if final.idempotency_key
    )
    for key, count in keyed.items():
        check(f"the key {key} has {count} rows", holds=count == 1)


def no_row_stops_another(record: Record, check: Check) -> None:
    """One bad row never stops another: every nullable column NULL, payload of any JSON type, unknown action or status."""
    for failure in record.failures:
        check(f"{failure.function} failed without any fault: {failure.error}", holds=failure.struck)
    for sweep in record.sweeps:
        if sweep.clean:
            check(f"{sweep.failed_passes} passes of a sweep failed", holds=sweep.failed_passes == 0)


def times_are_in_order(record: Record, check: Check) -> None:
    """Times are in order: created <= sent <= acknowledged <= ended, all from the database's clock."""
    for final in record.finals.values():
        times = [
            at for at in (final.created_at, final.sent_at, final.acknowledged_at, final.completed_at) if at is not None
        ]
        check(f"the times of {final.action} are out of order", holds=times == sorted(times))
    for earlier, later in pairwise(record.history):
        check(f"history went back in time at {later.command_id}", holds=earlier.at <= later.at)


def no_transaction_during_a_post(record: Record, check: Check) -> None:
    """No transaction is open while the network is used."""
    for count in record.calls:
        check("a transaction was open while the network was used", holds=count == 0)


def nothing_is_delivered_too_late(record: Record, check: Check) -> None:
    """Nothing is delivered after its deliver_by or after a committed cancel."""
    for post in record.posts:
        queue = {queued.command_id: queued for queued in post.queue}
        for carried in post.carried:
            queued = queue.get(carried.command_id)
            check(f"{carried.action} was posted after its end", holds=queued is not None)
            check(f"{carried.action} was posted while pending", holds=queued is None or queued.status == "sent")
            check(f"{carried.action} was posted after its deliver_by", holds=queued is None or not queued.late)


def nothing_due_waits_for_two_sweeps(record: Record, check: Check) -> None:
    """With the agent connected and the link healthy, the oldest due command is younger than two sweeps.

    Precisely, and stronger: a sweep in which nothing goes wrong leaves nothing pending that is due, if its agent's window
    is open and its socket has been healthy for longer than a handshake takes.  Nor does a submission to such an agent.
    """
    for sweep in record.sweeps:
        if sweep.clean:
            check(f"a {sweep.what} left {sweep.stuck} pending, though nothing holds them back", holds=not sweep.stuck)


def every_transition_is_recorded(record: Record, check: Check) -> None:
    """Every transition leaves exactly one row in the command's history, in the same transaction."""
    moves = _by_command(record)
    for final in record.finals.values():
        check_chain(final, moves.get(final.command_id, []), check)
    check("there is history of commands that do not exist", holds=set(moves) <= set(record.finals))


def check_chain(final: Final, moves: list[Moved], check: Check) -> None:
    """Check that a command's history leads without a gap from its acceptance to where it is."""
    states = [None, *(moved.to_status for moved in moves)]
    gapless = all(moved.from_status == state for moved, state in zip(moves, states, strict=False))
    check(f"the history of {final.action} has gaps: {moves}", holds=gapless)
    check(f"the history of {final.action} does not end at {final.status}", holds=states[-1] == final.status)
    attempts = [moved.attempt for moved in moves]
    check(f"the attempts of {final.action} went back", holds=attempts == sorted(attempts))


Invariant = Callable[[Record, Check], None]
INVARIANTS: dict[str, Invariant] = {
    "I1": every_202_ends_once,
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
    "I13": no_transaction_during_a_post,
    "I14": nothing_is_delivered_too_late,
    "I15": nothing_due_waits_for_two_sweeps,
    "I16": every_transition_is_recorded,
}


def check_all(record: Record, tally: Counter[str]) -> list[str]:
    """Check every invariant; count the checks, and return what is violated."""
    violations: list[str] = []
    for name, invariant in INVARIANTS.items():
        check = Check()
        invariant(record, check)
        tally[name] += check.count
        violations += [f"{name}: {sentence}" for sentence in check.violations]
    return violations
