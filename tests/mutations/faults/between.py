"""Faults between the dispatcher and its agents: posts and connections."""

from tests.mutations.fault import Fault
from tests.mutations.table.paths import (
    CLOCKS,
    CONTRACT,
    DELIVERY,
    FAULTS,
    GATEWAY,
    GUARDS,
    INTAKE,
    PACE,
    PASSES,
    PRESENCE,
    PROTOCOL_2,
    REGRESSIONS,
    SWEEP,
    WEBSOCKET,
)

ROWS: dict[str, tuple[Fault, ...]] = {
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
            holds="the holder stops before its lease ends, posts nothing too late, and settles nothing of the next one's",
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
}
