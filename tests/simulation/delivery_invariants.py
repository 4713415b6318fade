"""The invariants of delivery.  Each docstring is the invariant's sentence in docs/guarantees.md."""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

from dispatcher.platform.gateway import Posted
from tests.simulation.check import Check, arrivals, attempt_in, posts_by_command, transitions_by_command
from tests.simulation.history import History, Post, QueuedCommand, RecordedTransition

_ENDED_WITHOUT_DELIVERY = {"expired", "cancelled", "dead"}
LEASE_SECONDS = 30
ACK_SECONDS_LEAST = {"acknowledging": 17, "batching": 17, "silent": 4}
"""20 s less a tenth of jitter, and some time between two looks at the clock; of a silent agent the execution timeout."""
POSTED_SECONDS = 17
"""How long a process may post what it claimed: a last attempt that reached nobody ends no sooner."""
ACK_SECONDS_MOST = 330
"""5 minutes, and a tenth of jitter."""
ENDED_EARLY = ("before the agent reconnected", "asks for another", "cancelled by its agent", "its agent was deleted")
"""Causes for which an attempt may end without an ack before its deadline."""
NOT_POSTED = (
    "refused by the gateway",
    "connection gone",
    "lost its lease",
    "ran out of time",
    "came too late",
    "before it",
)
"""Causes of attempts that surely did not reach their agent."""
PACE_SECONDS_MOST, RETRY_SECONDS_MOST = 60, 300
TOLERANCE = timedelta(seconds=0.5)
MUTE_SECONDS = {"acknowledging": 15, "batching": 15, "silent": 75}
"""How long an agent may say nothing after its first command; a claim may be posted for the length of a lease longer."""
MUTE_CONNECTIONS = 2


def nothing_is_lost_or_invented(history: History, check: Check) -> None:
    """No accepted command ends undelivered without a reason, and no command is delivered that was not accepted."""
    arrived, posts = arrivals(history), posts_by_command(history.posts)
    reported = {report.command_id for report in history.reports}
    set_aside = {
        each.command_id for each in history.transitions if (each.from_status, each.to_status) == (None, "dead")
    }
    for command in history.commands:
        too_large = any(post.answer is Posted.TOO_LARGE for post in posts[command.command_id])
        check(
            command.status in _ENDED_WITHOUT_DELIVERY
            or (command.status == "failed" and too_large)
            or command.command_id in arrived
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
            # Agents of protocol 1 read only objects: JSON's null is one, too.
            as_object = posted.payload == {} and post.agent.mode != "batching" and source and source.payload is None
            check(same or as_object, f"{posted.action} was delivered with another payload")


def duplicates_have_a_larger_attempt(history: History, check: Check) -> None:
    """A second delivery has the same commandId and a larger attempt, and attempts never exceed max_attempts.

    What surely did not reach the agent does not count as an attempt; what may have reached it does, and keeps its time for the
    ack.  A second delivery has a reason before it: a fault, a lost answer or a new connection.  Attempts are paced, also over
    new connections, and an agent that executes and says nothing gets no more.
    """
    arrived, posts = arrivals(history), posts_by_command(history.posts)
    for command_id, arrivals_of_command in arrived.items():
        for earlier, later in pairwise(arrivals_of_command):
            first, second = attempt_in(earlier, command_id), attempt_in(later, command_id)
            check(first < second, f"{command_id} arrived with attempt {second} after {first}")
            reasons = [
                fault
                for fault in history.faults
                if earlier.begun_at < fault.at < later.begun_at and fault.agent_id in {None, earlier.agent_id}
            ]
            check(bool(reasons), f"{command_id} arrived again, attempt {second}, without a reason")
    for command_id, transitions in transitions_by_command(history).items():
        _check_attempts(transitions, posts[command_id], check)
    for command in history.commands:
        most = command.max_attempts
        check(command.attempt <= most, f"{command.action} has more attempts than {most}")
    for post in history.posts:
        for posted in post.commands:
            named = posted.named_attempt in {None, posted.attempt}
            check(named, f"{posted.action} named attempt {posted.named_attempt}, not {posted.attempt}")
        most_seconds = MUTE_SECONDS[post.agent.mode] + LEASE_SECONDS
        silent = post.silent_seconds > most_seconds or post.mute_before >= MUTE_CONNECTIONS
        check(not silent, f"{post.agent_id} got more over {post.connection_id}, although it says nothing")


def _check_attempts(transitions: list[RecordedTransition], posts: list[Post], check: Check) -> None:
    """Check one command's attempts: which of them count, and when the next one follows."""
    claim: RecordedTransition | None = None
    own: list[Post] = []
    """The posts of this claim."""
    earliest: datetime | None = None
    """When the next attempt may go out."""
    for each in transitions:
        if claim is not None and each.from_status == "pending":
            counted = each.attempt - (each.to_status == "sent")
            rightly = counted >= claim.attempt or _reached_nobody(own)
            check(
                rightly, f"attempt {claim.attempt} of {each.command_id} may have reached its agent, but does not count"
            )
        if each.to_status == "sent":
            early = earliest is not None and each.at < earliest - TOLERANCE
            check(not early, f"{each.command_id} was claimed for attempt {each.attempt} too soon after the last one")
            claim, earliest = each, None
            own = [post for post in posts if _claim_in(post, each.command_id) == claim.history_id]
        elif claim is not None and each.to_status in {"pending", "dead", "cancelled"}:
            if each.from_status == "sent":
                _check_return(claim, each, own, check)
            if each.to_status == "pending":
                earliest = _earliest(claim, each)


def _reached_nobody(posts: list[Post]) -> bool:
    return all(post.answer in {Posted.GONE, Posted.REFUSED} and not post.arrived for post in posts)


def _claim_in(post: Post, command_id: str) -> int | None:
    return next(command.claim for command in post.commands if command.command_id == command_id)


def _check_return(claim: RecordedTransition, returned: RecordedTransition, posts: list[Post], check: Check) -> None:
    """Check whether an attempt that ended without an ack was rightly counted, or rightly not."""
    name = f"attempt {claim.attempt} of {returned.command_id}"
    if returned.attempt < claim.attempt:
        check(_reached_nobody(posts), f"{name} may have reached its agent, but does not count")
        return
    given_up = returned.to_status == "dead" and (returned.at - claim.at).total_seconds() < POSTED_SECONDS
    check(not (given_up and _reached_nobody(posts)), f"{name}, the last one, reached nobody, but counts")
    check(
        not any(cause in returned.cause for cause in NOT_POSTED), f"{name} reached nobody, but counts: {returned.cause}"
    )
    least = min((ACK_SECONDS_LEAST[post.agent.mode] for post in posts if post.arrived), default=0)
    waited = (returned.at - claim.at).total_seconds()
    early = any(cause in returned.cause for cause in ENDED_EARLY)
    check(early or waited >= least, f"{name} reached its agent, and ended without an ack after {waited:.1f} s")


def _earliest(claim: RecordedTransition, returned: RecordedTransition) -> datetime | None:
    """Return when the next attempt may go out; None: at once."""
    if returned.attempt < claim.attempt:
        return None
    if "asks for another" in returned.cause:
        return returned.at + timedelta(seconds=min(2.0**claim.attempt, RETRY_SECONDS_MOST) / 2)
    if claim.attempt == 1:
        return None
    return claim.at + timedelta(seconds=min(2.0**claim.attempt, PACE_SECONDS_MOST))


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
        check(post.welcomed, f"{post.agent_id} got a command over {post.connection_id} before its welcome")
        if not post.first_of_claim or not ranks:
            continue
        claimed_at = min(queue[each.command_id].sent_at or 0.0 for each in post.commands if each.command_id in queue)
        posted = sorted(each.command_id for each in post.commands)
        busy = {queued.session_id for queued in post.queue if queued.status == "sent"}
        for queued in post.queue:
            free = post.agent.mode != "silent" or queued.session_id not in busy
            waited = queued.status == "pending" and queued.due and queued.waits_since < claimed_at
            overtaken = waited and free and _rank(queued) < ranks[-1]
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
            if inner.agent.mode == "acknowledging":  # no lease: the command in flight keeps others out
                in_flight = {(each.command_id, each.claim) for each in inner.queue if each.status == "sent"}
                free = not any((each.command_id, each.claim) in in_flight for each in outer.commands)
            else:
                free = expired and inner.agent.lease != outer.agent.lease
            check(free, f"two posts at once over {inner.connection_id}")


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
            cancelled = queued is not None and queued.cancelled_before
            check(not cancelled, f"{posted.action} was claimed and posted after its cancel")
            check(queued is None or not queued.late, f"{posted.action} was posted after its deliver_by")


def nothing_due_waits_for_two_sweeps(history: History, check: Check) -> None:
    """While its agent is connected, a due command waits no longer than two sweeps.

    Precisely, and stronger: an undisturbed sweep leaves nothing pending that is due, if the agent's window is open and its
    connection has worked for longer than a handshake takes.  Nor does a submission to such an agent.
    """
    for each in history.delivery_rounds:
        if each.undisturbed:
            check(not each.stuck, f"a {each.kind} left {each.stuck} pending, although nothing delays them")


def a_cancel_reaches_its_agent(history: History, check: Check) -> None:
    """A committed cancel reaches every agent of protocol 2 that connects before the command ends.

    Precisely: after an undisturbed sweep, a connected agent was asked over its connection to stop every command that was
    cancelled while it was under way, or that timed out, and that has not ended otherwise.
    """
    for each in history.delivery_rounds:
        if each.undisturbed:
            check(not each.untold, f"a {each.kind} left an agent that was not asked to stop {each.untold}")
    for stop in history.stops:
        check(
            stop.welcomed, f"{stop.agent_id} was asked to stop a command over {stop.connection_id} before its welcome"
        )
        wanted = stop.command is not None and (
            stop.command.cancel_requested or stop.command.status not in ("sent", "acknowledged")
        )
        check(wanted, f"{stop.agent_id} was asked to stop {stop.command_id}, although nobody wants that")
