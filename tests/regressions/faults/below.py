"""Faults of what the dispatcher stands on: processes and the database."""

from tests.regressions.fault import Fault
from tests.regressions.table.paths import (
    ACCESS,
    CLOCKS,
    CONTRACT,
    DATABASE,
    FAULTS,
    GUARDS,
    INTAKE,
    KILLS,
    LOCKED,
    PASSES,
    PRESENCE,
    PROMISES,
    SECURITY,
    SOCKETS,
    SWEEP,
    UP,
)

ROWS: dict[str, tuple[Fault, ...]] = {
    "Processes that end": (
        Fault(
            what="killed before, at or after the commit of an insert",
            holds="no 202 without a row; a row without a 202 is delivered like any other",
            invariants=("I1", "I2"),
            tests=(
                PROMISES + "test_a_commit_that_fails_is_never_answered_with_a_202",
                PROMISES + "test_a_database_that_goes_away_after_the_commit_changes_nothing_about_the_202",
                INTAKE + "test_a_list_is_accepted_as_a_whole_or_not_at_all",
            ),
            mutations=("answer-before-the-commit", "delivery-fails-the-202", "list-is-accepted-in-part"),
        ),
        Fault(
            what="killed between claim and post",
            holds="the attempt counts; when lease and ack deadline are over, the sweep sends it again",
            invariants=("I1", "I3", "I5"),
            tests=(FAULTS + "test_a_function_killed_between_claim_and_post_costs_an_attempt_and_a_deadline",),
            mutations=("lease-never-ends",),
        ),
        Fault(
            what="killed between post and settlement, or within a batch",
            holds="what was posted may come twice, with a larger attempt; what was not is sent again",
            invariants=("I3",),
            tests=(
                CLOCKS + "test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left",
                KILLS + "test_a_killed_process_loses_nothing_and_doubles_nothing_without_saying_so",
            ),
            mutations=("sent-for-ever", "one-attempt-too-many", "one-attempt-too-few", "attempts-without-an-end"),
        ),
        Fault(
            what="a function's time is up",
            holds="nothing is claimed that cannot be posted and settled in time; no pass is begun without time",
            invariants=("I5",),
            tests=(
                FAULTS + "test_nothing_is_claimed_when_no_time_is_left_to_post_it",
                FAULTS + "test_a_holder_stops_posting_before_its_lease_ends",
                PASSES + "test_without_time_no_pass_is_begun",
                PASSES + "test_a_pass_with_full_batches_ends_when_the_time_is_up",
                PASSES + "test_flush_does_not_wait_for_ever_for_a_handshake",
            ),
            mutations=(
                "claiming-without-time",
                "posting-past-the-lease",
                "passes-are-begun-without-time",
                "pass-without-an-end",
                "flush-waits-for-ever",
            ),
        ),
        Fault(
            what="the whole machine killed with SIGKILL, commands pending",
            holds="after the next start they are delivered",
            invariants=("I2",),
            tests=(
                CONTRACT + "test_what_is_pending_survives_a_kill_of_the_whole_dispatcher",
                UP + "test_it_survives_kill_9_and_keeps_port_and_data",
            ),
        ),
        Fault(
            what="an asynchronous invocation lost",
            holds="the handshake succeeds all the same; the sweep delivers",
            invariants=("I15",),
            tests=(
                PROMISES + "test_a_flush_that_cannot_be_invoked_is_no_reason_to_refuse_an_agent",
                SWEEP + "test_a_connection_whose_flush_was_lost_is_delivered_to_by_the_sweep",
                KILLS + "test_a_lost_flush_is_made_good_by_the_sweep",
            ),
            mutations=("lost-flush-refuses-the-agent", "handshakes-never-end"),
        ),
        Fault(
            what="an asynchronous invocation doubled or late",
            holds="it finds the lease taken, nothing due, or a newer connection, and does nothing",
            invariants=("I3", "I8"),
            tests=(
                PRESENCE + "test_flush_gives_up_at_once_where_a_newer_connection_is_there",
                GUARDS + "test_a_flush_that_comes_late_says_nothing_of_the_newer_connection",
                CLOCKS + "test_many_deliverers_at_once_send_each_command_once_and_in_order",
                KILLS + "test_a_doubled_flush_delivers_once",
                KILLS + "test_a_late_flush_of_an_older_connection_delivers_to_the_newer_one_or_not_at_all",
            ),
            mutations=("flush-of-a-superseded-connection", "late-flush-opens-the-newer-connection"),
        ),
        Fault(
            what="two sweeps at once; a sweep skipped, late or doubled",
            holds="each command is sent once; nothing depends on when a sweep comes but how soon",
            invariants=("I3", "I5", "I15"),
            tests=(
                FAULTS + "test_two_sweepers_at_once_send_each_command_once",
                FAULTS + "test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock",
            ),
            mutations=("what-is-in-flight-is-dispatched-again", "scan-waits-for-locks"),
        ),
        Fault(
            what="a pass of the sweep fails",
            holds="it is counted and logged; every other pass, and every other agent, goes on",
            invariants=("I11",),
            tests=(
                SWEEP + "test_a_pass_that_fails_stops_no_other",
                PASSES + "test_one_agent_that_cannot_be_delivered_to_stops_no_other",
            ),
            mutations=("one-pass-stops-the-others", "one-agent-stops-the-others", "failed-pass-is-not-counted"),
        ),
    ),
    "The database": (
        Fault(
            what="an environment thawed with a dead socket; the server restarted",
            holds="the next event opens another connection",
            invariants=(),
            tests=(DATABASE + "test_an_environment_that_thaws_with_a_dead_socket_opens_another",),
            mutations=("dead-socket-after-the-thaw",),
        ),
        Fault(
            what="the connection dropped in mid-transaction; a deadlock (40P01), a conflict (40001), a failover (57P01)",
            holds="a report, a connection and a disconnection are noted by a second try: agents say everything once",
            invariants=("I1", "I9"),
            tests=(
                DATABASE + "test_work_that_the_database_cuts_short_is_done_again",
                PROMISES + "test_a_report_that_the_database_interrupts_is_settled_all_the_same",
                PROMISES + "test_an_agent_that_comes_or_goes_while_the_database_is_interrupted_is_noted",
                KILLS + "test_a_session_of_the_database_that_ends_loses_nothing",
            ),
            mutations=(
                "no-second-try",
                "report-is-lost-in-a-deadlock",
                "connect-gives-up-in-a-deadlock",
                "disconnect-gives-up-in-a-deadlock",
            ),
        ),
        Fault(
            what="a failover that leaves a connection to a server that only reads",
            holds="503, or a second try, and then the server that writes; nothing is accepted meanwhile",
            invariants=("I1",),
            tests=(
                DATABASE + "test_after_a_failover_work_goes_to_the_server_that_writes",
                ACCESS + "test_a_server_that_only_reads_is_a_503_and_the_next_request_finds_the_other",
                SOCKETS + "test_a_database_that_cannot_be_asked_about_an_operator_is_a_503_and_no_401",
            ),
            mutations=(
                "connection-to-a-reader-is-kept",
                "reader-is-no-interruption",
                "reader-is-a-server-error",
                "unreachable-database-is-a-401",
            ),
        ),
        Fault(
            what="the outcome of a commit unknown",
            holds="503, never 202; the same Idempotency-Key finds out which it was",
            invariants=("I1", "I10"),
            tests=(
                PROMISES + "test_a_commit_that_fails_is_never_answered_with_a_202",
                INTAKE + "test_one_idempotency_key_is_one_command",
            ),
            mutations=(
                "failed-commit-is-a-server-error",
                "idempotency-without-comparing",
                "idempotency-key-is-not-kept",
                "no-constraint-idempotency-key",
            ),
        ),
        Fault(
            what="a lock or a statement that does not end",
            holds="the role's timeouts end it, and passes go around rows that somebody works on",
            invariants=("I11",),
            tests=(
                DATABASE + "test_the_role_waits_for_nothing_for_ever",
                DATABASE + "test_a_migration_sees_to_the_roles_timeouts",
                FAULTS + "test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock",
                LOCKED + "test_delivery_does_not_turn_round_and_round_a_locked_row",
                LOCKED + "test_a_sweep_goes_around_a_locked_row_and_delivers_it_when_it_is_free",
            ),
            mutations=(
                "no-lock-timeout",
                "scan-waits-for-locks",
                "turning-round-a-locked-row",
                "claim-waits-for-locks",
            ),
        ),
        Fault(
            what="no connection to be had: too many, or nobody there",
            holds="503 with Retry-After, and nothing about where the database is",
            invariants=(),
            tests=(SECURITY + "test_a_database_that_cannot_be_reached_is_a_503_without_its_address",),
            mutations=("database-address-is-sent",),
        ),
        Fault(
            what="the schema applied twice, by two at a time, or changed afterwards",
            holds="each file is applied once; a changed one is refused",
            invariants=(),
            tests=(
                DATABASE + "test_the_schema_is_applied_once_and_again_changes_nothing",
                DATABASE + "test_a_schema_file_that_was_changed_after_it_had_been_applied_is_refused",
            ),
            mutations=("schema-is-applied-again", "changed-schema-file-is-accepted"),
        ),
    ),
}
