"""The invariants I1 to I20 of docs/guarantees.md, checked on a history."""

from collections import Counter
from collections.abc import Callable

from tests.simulation import command_invariants as commands
from tests.simulation import delivery_invariants as delivery
from tests.simulation import report_invariants as reports
from tests.simulation.check import Check
from tests.simulation.history import History

INVARIANTS: dict[str, Callable[[History, Check], None]] = {
    "I1": commands.accepted_commands_end_once,
    "I2": delivery.nothing_is_lost_or_invented,
    "I3": delivery.duplicates_have_a_larger_attempt,
    "I4": delivery.deliveries_keep_their_order,
    "I5": delivery.one_lease_and_no_more_than_the_window,
    "I6": commands.only_legal_transitions,
    "I7": reports.old_results_settle_nothing_new,
    "I8": reports.old_connections_change_nothing,
    "I9": reports.only_the_owner_settles,
    "I10": commands.one_key_one_command,
    "I11": commands.no_row_stops_another,
    "I12": commands.times_are_in_order,
    "I13": delivery.no_transaction_during_a_network_call,
    "I14": delivery.nothing_is_delivered_too_late,
    "I15": delivery.nothing_due_waits_for_two_sweeps,
    "I16": commands.every_transition_is_recorded,
    "I17": reports.what_was_taken_is_settled_once,
    "I18": delivery.a_cancel_reaches_its_agent,
    "I19": commands.a_new_agent_inherits_nothing,
    "I20": commands.the_feed_tells_every_transition,
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
