"""The invariants of what agents say.  Each docstring is the invariant's sentence in docs/guarantees.md."""

from itertools import pairwise

from tests.simulation.check import Check
from tests.simulation.history import History
from tests.simulation.report_rules import expected_after_resumption, expected_status

GONE_MOST = 5
"""Posts that may find one connection gone: a process may be killed before it forgets the connection."""


def old_results_settle_nothing_new(history: History, check: Check) -> None:
    """A report about an old attempt never ends a newer attempt wrongly; a late real result counts.

    An agent that says what it executes ends only what it acknowledged over an older connection and does not execute any more.
    """
    for report in history.reports:
        before = report.before
        if before is None or before.agent_id != report.agent_id:
            continue
        expected = expected_status(report, before)
        after = report.after.status if report.after else None
        possible = {expected} if report.finished and not report.repeated else {expected, before.status}
        check(after in possible, f"{report.kind} (attempt {report.attempt}, epoch {report.epoch}) on {before}: {after}")
    for said in history.resumptions:
        for command_id, before in said.before.items():
            expected = expected_after_resumption(said, before)
            after = said.after[command_id].status
            possible = {expected} if said.finished else {expected, before.status}
            check(after in possible, f"{before.action} became {after} when its agent said what it executes: {before}")


def old_connections_change_nothing(history: History, check: Check) -> None:
    """An old connection changes neither presence nor routing: the last connection wins, by its epoch.

    And a connection that was found gone is forgotten.
    """
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
    for connection_id, count in history.posts_to_gone.items():
        check(count <= GONE_MOST, f"{count} posts found {connection_id} gone")
    for post in history.posts:
        if post.first_of_claim:
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


def what_was_taken_is_settled_once(history: History, check: Check) -> None:
    """A report that was confirmed, or taken by the gateway, is settled exactly once, in its written order.

    Also when the database was away: the queue keeps what an agent says, and the order in which it said it.  Newer progress is
    not replaced by what was said before it.  An agent of protocol 2 keeps what is not confirmed, and says it again; its welcome
    comes before any confirmation.
    """
    for said in history.said:
        check(said.settled or not said.taken, f"{said.agent_id} said {said.text}, and it was lost")
        check(said.effects <= 1, f"{said.agent_id} said {said.text}, and it had {said.effects} effects")
    for agent_id in {said.agent_id for said in history.said}:
        kept = [said for said in history.said if said.agent_id == agent_id and said.kept]
        kept.sort(key=lambda said: said.kept[0])
        for earlier, later in pairwise(kept):
            in_order = earlier.settled_late and later.settled_late and earlier.settled_late[0] < later.settled_late[0]
            check(in_order, f"{later.text} was settled before {earlier.text}, or one of them never")
    for each in history.confirmations:
        check(each.settled, f"{each.text} was confirmed before it was settled")
        check(each.welcomed, f"{each.text} was confirmed before the welcome")
    newest: dict[str, int] = {}
    for progress in history.progress:
        if progress.stored == progress.value:
            forward = progress.said >= newest.get(progress.command_id, 0)
            check(forward, f"progress {progress.value} of {progress.command_id} replaced what was said later")
            newest[progress.command_id] = progress.said
    check(not history.unconfirmed, f"an agent still keeps {history.unconfirmed}")
