"""The matrix of faults as data: what is thrown at the dispatcher, what must hold, the test, and the mutation that proves it."""

from dataclasses import dataclass

from tests.mutations.table.paths import (
    CLOCKS,
    DATABASE,
    DELIVERY,
    FAULTS,
    GATEWAY,
    GUARDS,
    INTAKE,
    PACE,
    PASSES,
    PRESENCE,
    PROMISES,
    PROTOCOL_2,
    REGRESSIONS,
    SAMPLES,
    SECURITY,
    STATES,
    SWEEP,
)

FRAMES = "tests/layer/test_frames.py::"
CONTRACT = "tests/end_to_end/test_contract.py::"
UP = "tests/local/test_up.py::"
WEBSOCKET = "tests/local/test_websocket.py::"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault."""

    what: str
    holds: str
    """What must be true all the same, in plain words."""
    invariants: tuple[str, ...]
    tests: tuple[str, ...]
    mutations: tuple[str, ...] = ()
    """Names of mutations under which one of the tests turns red; none for what a mutation of one file cannot break."""


MATRIX: dict[str, tuple[Fault, ...]] = {
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
            tests=(CLOCKS + "test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left",),
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
                UP + "test_it_survives_kill_9_and_serves_again_within_five_seconds",
            ),
        ),
        Fault(
            what="an asynchronous invocation lost",
            holds="the handshake succeeds all the same; the sweep delivers",
            invariants=("I15",),
            tests=(
                PROMISES + "test_a_flush_that_cannot_be_invoked_is_no_reason_to_refuse_an_agent",
                SWEEP + "test_a_connection_whose_flush_was_lost_is_delivered_to_by_the_sweep",
            ),
            mutations=("lost-flush-refuses-the-agent", "handshakes-never-end", "no-polling"),
        ),
        Fault(
            what="an asynchronous invocation doubled or late",
            holds="it finds the lease taken, nothing due, or a newer connection, and does nothing",
            invariants=("I3", "I8"),
            tests=(
                PRESENCE + "test_flush_gives_up_at_once_where_a_newer_connection_is_there",
                GUARDS + "test_a_flush_that_comes_late_says_nothing_of_the_newer_connection",
                CLOCKS + "test_many_deliverers_at_once_send_each_command_once_and_in_order",
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
            ),
            mutations=(
                "no-second-try",
                "report-is-lost-in-a-deadlock",
                "connect-gives-up-in-a-deadlock",
                "disconnect-gives-up-in-a-deadlock",
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
                FAULTS + "test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock",
            ),
            mutations=("no-lock-timeout", "scan-waits-for-locks"),
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
    "Posts": (
        Fault(
            what="410",
            holds="the connection that was tried is forgotten, only that one; its commands are pending again",
            invariants=("I1", "I8"),
            tests=(
                GATEWAY + "test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice",
                DELIVERY + "test_each_outcome_of_a_post_is_treated_as_what_it_is",
                FAULTS + "test_a_gone_connection_is_forgotten_and_not_the_one_that_replaced_it_meanwhile",
                REGRESSIONS + "test_a_post_that_nobody_took_is_not_counted_as_sent",
            ),
            mutations=(
                "attempt-is-not-counted",
                "published-counts-as-sent",
                "gone-is-failed",
                "gone-is-not-forgotten",
                "gone-forgets-the-newer-connection",
            ),
        ),
        Fault(
            what="413",
            holds="this command fails with the reason; those behind it go on",
            invariants=("I1", "I4"),
            tests=(
                GATEWAY + "test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice",
                FAULTS + "test_what_can_never_be_sent_fails_and_holds_nobody_back",
                GUARDS + "test_what_could_not_be_sent_in_an_older_attempt_says_nothing_of_the_newer",
                GUARDS + "test_what_was_acknowledged_meanwhile_is_not_failed_as_unsendable",
            ),
            mutations=(
                "too-large-is-retried-for-ever",
                "too-large-holds-others-back",
                "unsendable-of-an-older-attempt-settles",
                "unsendable-without-a-guard",
            ),
        ),
        Fault(
            what="429, 403, 5xx, or no connection to the gateway",
            holds="the agent's whole queue waits, longer each time; no connection is forgotten; one post is one attempt",
            invariants=("I3", "I4"),
            tests=(
                GATEWAY + "test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice",
                GATEWAY + "test_a_gateway_that_cannot_be_reached_has_taken_nothing",
                CLOCKS + "test_a_throttled_post_holds_the_whole_queue_and_kills_no_connection",
                PACE + "test_one_refused_post_is_one_post",
                PACE + "test_the_pause_before_the_next_try_is_doubled_up_to_a_minute_and_half_of_it_is_chance",
            ),
            mutations=(
                "throttled-is-gone",
                "forbidden-is-gone",
                "server-error-is-taken",
                "unreachable-gateway-is-unknown",
                "throttle-is-not-kept",
                "refused-without-a-pause",
                "backoff-that-does-not-grow",
                "backoff-without-a-bound",
                "backoff-without-chance",
            ),
        ),
        Fault(
            what="no answer in time: it may have arrived",
            holds="it waits for its ack; nothing overtakes it; it is not posted twice in one attempt",
            invariants=("I3", "I4"),
            tests=(
                GATEWAY + "test_each_answer_is_taken_for_what_it_is_and_nothing_is_posted_twice",
                DELIVERY + "test_each_outcome_of_a_post_is_treated_as_what_it_is",
                FAULTS + "test_nothing_overtakes_a_command_whose_post_got_no_answer",
            ),
            mutations=(
                "timeout-is-not-sent",
                "unknown-goes-back",
                "posts-are-retried-below-us",
                "overtaking-the-unanswered",
            ),
        ),
        Fault(
            what="a post while $connect is under way, which gets 410",
            holds="nobody posts before the handshake is over; flush waits for that, the sweep 10 s",
            invariants=("I3", "I15"),
            tests=(
                SWEEP + "test_nothing_is_posted_while_the_handshake_is_under_way",
                PRESENCE + "test_flush_waits_until_the_handshake_is_over_and_then_delivers",
                GATEWAY + "test_a_connection_that_is_not_known_to_be_live_is_not",
            ),
            mutations=("posting-during-the-handshake", "flush-does-not-wait", "in-doubt-it-is-live"),
        ),
        Fault(
            what="a slow post: the lease, a deliver_by or the connection's time ends meanwhile",
            holds="the holder stops before its lease ends, posts nothing that is too late, and settles nothing of the next one's",
            invariants=("I5", "I7", "I13", "I14"),
            tests=(
                FAULTS + "test_no_transaction_is_open_while_a_post_is_under_way",
                FAULTS + "test_a_slow_holder_settles_nothing_that_was_claimed_after_it",
                FAULTS + "test_a_holder_stops_posting_before_its_lease_ends",
                FAULTS + "test_a_command_whose_time_runs_out_behind_a_slow_post_is_not_posted",
            ),
            mutations=(
                "transaction-open-across-a-post",
                "posting-past-the-lease",
                "lease-is-released-by-anyone",
                "old-settlement-ends-a-newer-attempt",
                "deliver-by-passes-in-our-hands",
            ),
        ),
        Fault(
            what="messages of 32 and 128 KB, plus and minus a byte (1009)",
            holds="intake refuses what no message can carry; batches are split; bytes count, not characters",
            invariants=("I1",),
            tests=(
                INTAKE + "test_a_command_larger_than_a_frame_by_one_byte_is_refused_and_one_that_fits_is_taken",
                PROTOCOL_2 + "test_a_batch_is_split_where_it_would_not_pass_the_gateway",
                PACE + "test_a_row_that_no_frame_can_carry_is_failed_without_a_post",
                PACE + "test_a_batch_is_split_by_its_bytes",
            ),
            mutations=(
                "too-large-is-accepted",
                "message-of-any-size",
                "messages-are-measured-in-characters",
                "batches-are-measured-in-characters",
            ),
        ),
    ),
    "Connections": (
        Fault(
            what="the same agent connected twice, or cloned",
            holds="the last one to connect gets the commands; the older sockets are closed",
            invariants=("I8",),
            tests=(
                PRESENCE + "test_of_several_processes_with_one_agent_id_the_last_to_connect_gets_the_commands",
                CONTRACT + "test_the_last_connection_wins_and_the_older_socket_is_closed",
            ),
            mutations=("one-epoch-for-all", "older-socket-stays-open"),
        ),
        Fault(
            what="$connect doubled",
            holds="it is one connection: it closes nothing, and its acks count",
            invariants=("I8",),
            tests=(GUARDS + "test_a_connection_that_is_told_twice_is_one_connection",),
            mutations=("doubled-connect-closes-itself", "doubled-connect-keeps-the-older-epoch"),
        ),
        Fault(
            what="$disconnect late or doubled",
            holds="it forgets its own connection, and no newer one",
            invariants=("I8",),
            tests=(PRESENCE + "test_a_late_disconnect_of_the_older_connection_leaves_the_newer_one_alone",),
            mutations=("disconnect-by-agent-id",),
        ),
        Fault(
            what="$disconnect missing; half-open; 10 min idle; the 2 h cut",
            holds="after eleven minutes of silence the connection is forgotten, and all of its sockets with it",
            invariants=("I8", "I15"),
            tests=(
                SWEEP + "test_a_connection_that_is_silent_for_too_long_is_forgotten",
                PASSES + "test_an_agent_that_was_forgotten_as_absent_is_offline_with_all_its_sockets",
                PRESENCE + "test_a_heartbeat_of_an_older_connection_is_no_sign_of_life_of_the_newer",
                WEBSOCKET + "test_idle_and_old_connections_are_closed_as_going_away",
            ),
            mutations=(
                "absent-for-ever",
                "absent-connection-is-remembered",
                "heartbeat-of-the-older-socket-counts",
            ),
        ),
        Fault(
            what="a reconnect while something is in flight",
            holds="what was not acknowledged goes over the new connection, in order; the old lease is void",
            invariants=("I3", "I4", "I7", "I8"),
            tests=(
                CLOCKS + "test_a_new_connection_gets_what_was_not_acknowledged_on_the_older_one",
                GUARDS + "test_what_an_older_connection_acknowledged_keeps_nothing_from_being_sent_again",
                FAULTS + "test_a_slow_holder_settles_nothing_that_was_claimed_after_it",
            ),
            mutations=(
                "sent-over-the-old-socket-stays-there",
                "lease-outlives-its-connection",
                "ack-of-an-older-connection-counts",
                "busy-in-an-earlier-life",
            ),
        ),
        Fault(
            what="a storm of reconnects",
            holds="a sweep delivers to fifty agents and hands the rest over; a flush of an older connection gives up at once",
            invariants=("I15",),
            tests=(
                SWEEP + "test_more_agents_than_one_run_delivers_to_are_shared_out",
                PRESENCE + "test_flush_gives_up_at_once_where_a_newer_connection_is_there",
            ),
            mutations=("sweep-of-everyone", "flush-of-a-superseded-connection", "sweep-shares-out-nothing-in-a-hurry"),
        ),
        Fault(
            what="a command submitted while another one holds the lease",
            holds="the holder looks once more after its release: no wake-up is lost",
            invariants=("I15",),
            tests=(CLOCKS + "test_a_command_that_comes_while_another_holds_the_lease_is_delivered_by_the_holder",),
            mutations=("lost-wake-up", "claimed-without-the-lease", "no-lease"),
        ),
    ),
    "Agents": (
        Fault(
            what="an ack before the post has returned; an end before the ack",
            holds="what the agent says stands; nothing writes `sent` after the post",
            invariants=("I6",),
            tests=(REGRESSIONS + "test_an_ack_that_comes_before_the_post_has_returned_stands",),
            mutations=("sent-is-written-after-the-post",),
        ),
        Fault(
            what="acks doubled, late, over a closed socket, or of an older attempt",
            holds="they move nothing, and say nothing of the newer attempt",
            invariants=("I6", "I7"),
            tests=(
                PROTOCOL_2 + "test_a_report_of_an_old_attempt_settles_the_newer_one_only_where_it_is_a_result",
                PRESENCE + "test_an_ack_over_a_connection_that_is_forgotten_stops_no_redelivery",
                REGRESSIONS + "test_a_report_that_moved_no_row_is_reported_and_never_logged_as_success",
                STATES,
            ),
            mutations=(
                "ack-without-a-guard",
                "ack-of-an-older-attempt-counts",
                "ack-of-a-forgotten-connection-counts",
                "gone-connection-is-remembered",
                "failure-of-an-older-attempt-settles",
                "nothing-moved-is-success",
            ),
        ),
        Fault(
            what="a result after the time-out; a result after another end",
            holds="it replaces the service's own guess, and no other end",
            invariants=("I6", "I7"),
            tests=(
                CLOCKS + "test_a_late_result_replaces_a_time_out_and_no_other_end",
                PACE + "test_a_late_result_leaves_nothing_of_the_time_out",
                STATES,
            ),
            mutations=(
                "timed-out-is-final",
                "late-failure-overwrites-completed",
                "completion-without-a-guard",
                "failure-without-a-guard",
                "completed-with-an-error",
            ),
        ),
        Fault(
            what="an agent that never acknowledges",
            holds="it is sent again with a larger attempt and a longer deadline; then dead, with the reason",
            invariants=("I1", "I3"),
            tests=(
                CLOCKS + "test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left",
                PACE + "test_each_attempt_gives_the_agent_longer_for_its_ack",
                GUARDS + "test_an_attempt_whose_time_is_not_over_is_left_alone",
            ),
            mutations=(
                "sent-for-ever",
                "dead-without-a-reason",
                "same-time-for-each-ack",
                "time-for-an-ack-without-a-bound",
                "taken-back-before-its-time",
            ),
        ),
        Fault(
            what="an agent that executes in its read loop, and is silent meanwhile",
            holds="what waits behind that is not sent twice",
            invariants=("I3",),
            tests=(CLOCKS + "test_the_silence_of_an_agent_that_executes_means_nothing",),
            mutations=("busy-agent-is-sent-twice",),
        ),
        Fault(
            what="an agent killed after it executed and before it reported",
            holds="the command times out by its own clock, which begins with the ack; or it is sent again",
            invariants=("I1", "I3"),
            tests=(
                PASSES + "test_every_clock_is_looked_at_in_one_sweep",
                PACE + "test_the_time_of_an_execution_begins_with_the_ack_and_again_with_each_progress",
            ),
            mutations=("nothing-times-out", "execution-is-timed-from-the-acceptance", "progress-extends-nothing"),
        ),
        Fault(
            what="an agent that speaks of another agent's command or session",
            holds="it moves nothing: the authenticated id alone counts",
            invariants=("I9",),
            tests=(
                SECURITY + "test_no_agent_settles_another_agents_command",
                GUARDS + "test_no_agent_asks_for_another_attempt_of_another_agents_command",
                GUARDS + "test_an_agent_settles_nothing_that_it_was_never_sent",
                PRESENCE + "test_an_agents_status_changes_its_own_sessions_and_nobody_elses",
            ),
            mutations=(
                "ack-of-anyones-command",
                "complete-of-anyones-command",
                "failed-of-anyones-command",
                "retry-of-anyones-command",
                "progress-of-anyones-command",
                "cancelled-of-anyones-command",
                "result-of-what-was-never-sent",
                "status-of-anyones-session",
            ),
        ),
        Fault(
            what="frames that are no JSON, no object, of no type, of any shape",
            holds="logged with the agent's id; nothing changes; the socket stays open; the rest of a batch counts",
            invariants=("I11",),
            tests=(
                PROMISES + "test_a_bad_frame_is_no_error_and_changes_nothing",
                FRAMES + "test_no_message_is_an_error_or_touches_what_is_not_the_agents",
                PROTOCOL_2 + "test_many_reports_in_one_message_settle_each_its_own",
                CONTRACT + "test_a_bad_frame_is_logged_with_the_agents_id_and_its_socket_stays_open",
            ),
            mutations=("bad-frame-is-an-error", "one-bad-report-stops-the-others"),
        ),
        Fault(
            what="answers that name only the session (docker-agent)",
            holds="they settle what is under way there, in order; one command a session at a time",
            invariants=("I5", "I7"),
            tests=(
                REGRESSIONS + "test_a_docker_agents_answers_settle_the_command_of_their_session",
                REGRESSIONS + "test_a_silent_agent_has_one_command_without_a_session_at_a_time",
                GUARDS + "test_a_docker_agents_answer_is_about_what_is_under_way_and_not_about_what_timed_out",
            ),
            mutations=(
                "docker-answers-are-dropped",
                "answer-without-success-is-success",
                "answer-of-a-session-in-any-order",
                "answer-of-a-session-is-of-what-timed-out",
                "silent-agent-gets-a-session-twice",
            ),
        ),
        Fault(
            what="a cancel that meets a delivery",
            holds="pending: at once; under way: asked, kept, and not sent again; ended: refused",
            invariants=("I6", "I14"),
            tests=(
                PROMISES + "test_a_command_that_is_under_way_is_asked_to_stop_and_one_that_has_ended_is_not",
                CLOCKS + "test_a_cancel_while_it_is_under_way_ends_it_instead_of_sending_it_again",
                GUARDS + "test_a_cancel_of_what_was_sent_is_kept_until_the_attempt_is_over",
                GUARDS + "test_an_ended_command_is_not_marked_as_to_be_cancelled",
                FAULTS + "test_a_retryable_failure_of_a_command_that_is_to_be_cancelled_ends_it",
            ),
            mutations=(
                "cancel-without-a-guard",
                "cancel-asks-nobody",
                "cancel-is-forgotten",
                "cancelled-is-sent-again",
                "retry-of-what-is-to-be-cancelled",
            ),
        ),
    ),
    "Time": (
        Fault(
            what="an agent's, an operator's or a function's clock a day off",
            holds="no clock counts but the database's: order is that of acceptance, no time is before the one before it",
            invariants=("I4", "I12"),
            tests=(
                REGRESSIONS + "test_commands_go_in_the_order_of_acceptance_whatever_their_clocks_say",
                REGRESSIONS + "test_a_command_from_the_future_is_created_when_it_comes",
                PRESENCE + "test_a_heartbeat_counts_in_whatever_shape_it_comes",
                PACE + "test_each_step_of_a_command_has_its_time_in_order",
            ),
            mutations=(
                "order-by-time",
                "clock-of-whoever-inserts",
                "timestamp-must-be-text",
                "time-of-the-ack-is-not-kept",
                "time-of-the-end-is-not-kept",
            ),
        ),
        Fault(
            what="clocks that run out: not before, deliver by, execution, retention",
            holds="nothing is delivered before or after its time; every clock is looked at in every sweep",
            invariants=("I1", "I14"),
            tests=(
                CLOCKS + "test_a_command_is_not_delivered_before_its_time_nor_after_it",
                FAULTS + "test_a_command_whose_time_is_over_is_not_claimed_before_any_sweep",
                PASSES + "test_every_clock_is_looked_at_in_one_sweep",
                PASSES + "test_every_end_that_a_sweep_makes_has_its_time_and_no_clock_left",
                SWEEP + "test_what_ended_long_ago_is_pruned_with_its_history",
            ),
            mutations=(
                "not-before-is-ignored",
                "deliver-by-is-ignored",
                "expired-is-kept",
                "nothing-times-out",
                "nothing-is-pruned",
                "prune-whatever-its-age",
                "expired-without-its-time",
                "end-without-its-time",
            ),
        ),
    ),
    "Data": (
        Fault(
            what="NULL in every nullable column, as information_schema names them",
            holds="each command is delivered; NULL equals NULL where it has to",
            invariants=("I11",),
            tests=(
                REGRESSIONS + "test_null_in_any_nullable_column_stops_no_command",
                REGRESSIONS + "test_a_null_payload_reaches_agents_of_the_first_protocol_as_an_empty_object",
                CONTRACT + "test_rows_written_with_psql_are_delivered_whatever_is_null_in_them",
                GUARDS + "test_a_row_that_was_written_as_sent_goes_back_when_its_agent_reconnects",
                DELIVERY + "test_a_sweep_delivers_around_what_cannot_be_read",
                REGRESSIONS + "test_a_silent_agent_has_one_command_without_a_session_at_a_time",
                SAMPLES + "test_the_sample_command_is_stored_as_it_was_sent",
            ),
            mutations=(
                "null-error-message-breaks-reading",
                "null-error-message-breaks-insert",
                "null-session-breaks-insert",
                "null-session-is-no-session",
                "null-payload-is-sent-as-null",
                "null-takes-no-default",
                "null-epoch-is-not-older",
            ),
        ),
        Fault(
            what="rows that cannot be read: an unknown status, a moment that is none",
            holds="set aside with the reason, or refused where they are written; the rest goes on",
            invariants=("I11",),
            tests=(
                DELIVERY + "test_a_sweep_delivers_around_what_cannot_be_read",
                CLOCKS + "test_what_no_client_could_decode_is_refused_where_it_is_inserted",
                GUARDS + "test_the_table_itself_refuses_what_must_never_be",
            ),
            mutations=("unknown-status-is-not-set-aside", "infinity-is-a-moment", "no-constraint-status"),
        ),
        Fault(
            what="U+0000, lone surrogates, NaN, deep nesting, integers above 2^53, newlines, quotes",
            holds="refused with a problem at intake; kept as well as it goes where an agent reports it; no digit is lost",
            invariants=("I2", "I11"),
            tests=(
                INTAKE + "test_bad_input_gets_a_problem_and_changes_nothing",
                PROMISES + "test_a_payload_comes_back_with_every_digit_that_it_was_sent_with",
                REGRESSIONS + "test_a_result_that_postgresql_cannot_store_is_kept_as_well_as_it_goes",
                REGRESSIONS + "test_each_frame_is_one_json_document_whatever_the_command_holds",
            ),
            mutations=(
                "nan-is-json",
                "nesting-without-a-bound",
                "body-is-decoded-through-float",
                "payload-is-read-through-float",
                "what-cannot-be-stored-is-lost",
                "frame-is-built-by-formatting",
                "two-frames-joined-by-a-newline",
            ),
        ),
    ),
    "Load": (
        Fault(
            what="more than a batch of rows that are due, or that are not",
            holds="each pass goes on while its batches are full and ends in time; rows that are not due starve nobody",
            invariants=("I15",),
            tests=(
                PASSES + "test_a_pass_goes_on_while_its_batches_are_full",
                PASSES + "test_a_pass_with_full_batches_ends_when_the_time_is_up",
                CLOCKS + "test_a_command_is_not_delivered_before_its_time_nor_after_it",
                FAULTS + "test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock",
            ),
            mutations=("one-batch-a-sweep", "pass-without-an-end", "scan-without-a-limit", "scan-without-an-order"),
        ),
        Fault(
            what="a backlog for agents that are away",
            holds="the claim walks the agent's own queue; `make bench` measures it with a million rows",
            invariants=("I15",),
            tests=(CLOCKS + "test_the_claim_walks_the_agents_own_queue_and_nobody_elses",),
            mutations=("backlog-of-others-is-walked",),
        ),
        Fault(
            what="ten thousand pending for one agent",
            holds="intake says no (429) before the queue is longer than it may be, and keeps nothing of that command",
            invariants=("I1",),
            tests=(PROMISES + "test_a_full_queue_is_said_before_and_nothing_is_kept_of_the_command",),
            mutations=("queue-without-a-cap",),
        ),
        Fault(
            what="ten deliverers for one agent at once",
            holds="each command is sent once, in order, and no more than the window at a time",
            invariants=("I3", "I4", "I5"),
            tests=(
                CLOCKS + "test_many_deliverers_at_once_send_each_command_once_and_in_order",
                DELIVERY + "test_one_unacknowledged_command_at_a_time_and_the_next_after_the_ack",
                PROTOCOL_2 + "test_what_fits_the_window_goes_in_one_message_in_order",
                REGRESSIONS + "test_commands_go_in_the_order_of_acceptance_whatever_their_clocks_say",
            ),
            mutations=("window-is-ignored", "window-of-one-more", "order-of-the-planner", "order-without-priority"),
        ),
    ),
}
