"""Mutations of what agents report, and of connections and presence."""

from tests.regressions.mutation import Mutation

STATES = "test_a_move_is_made_only_from_its_source_statuses"
HEARTBEATS = "test_one_lost_heartbeat_changes_no_presence_and_the_next_one_restores_it"

MUTATIONS = (
    Mutation(
        name="ack-without-a-guard",
        puts_back="A completed command goes back to acknowledged.",
        stands_for=("R16", "I6"),
        find="and said.kind = 'ack' and c.command_id = said.command_id and c.agent_id = p_agent_id and "
        "(c.incarnation is null or c.incarnation = p_incarnation) and c.status in ('pending', "
        "'sent')",
        replace="and said.kind = 'ack'\n and c.command_id = said.command_id\n and c.agent_id = p_agent_id",
        caught_by=STATES,
    ),
    Mutation(
        name="failure-overwrites-completed",
        puts_back="A late failure overwrites completed.",
        stands_for=("R16", "I6"),
        find="and c.status in ('pending', 'sent', 'acknowledged', 'timed_out', 'dead', 'expired', "
        "'cancelled') and not c.cancel_confirmed and c.attempt > 0 and (said.kind",
        replace="and not c.cancel_confirmed and c.attempt > 0 and (said.kind",
        caught_by=STATES,
    ),
    Mutation(
        name="timed-out-is-final",
        puts_back="A real result does not replace the end that the service guessed.",
        stands_for=("I6", "I7"),
        find="and c.status in ('pending', 'sent', 'acknowledged', 'timed_out', 'dead', 'expired', "
        "'cancelled') and not c.cancel_confirmed and c.attempt > 0 returning",
        replace="and c.status in ('pending', 'sent', 'acknowledged', 'dead', 'expired', 'cancelled')\n and "
        "not c.cancel_confirmed and c.attempt > 0 returning",
        caught_by="test_a_late_result_replaces_a_time_out_and_no_other_end",
    ),
    Mutation(
        name="result-is-thrown-away",
        puts_back="The result of a completed command is not kept.",
        stands_for=("R26",),
        find="result = said.value,",
        replace="",
        caught_by="test_the_result_of_a_completed_command_is_kept",
    ),
    Mutation(
        name="ack-of-an-older-attempt-counts",
        puts_back="A late ack of the first attempt stops the second.",
        stands_for=("I7",),
        find="and c.attempt > coalesce(c.answered_attempt, 0) and {f}.is_of_attempt(c, said.attempt, p_epoch)",
        replace="and c.attempt > coalesce(c.answered_attempt, 0)",
        caught_by="test_a_report_of_an_old_attempt_settles_the_newer_one_only_if_it_is_a_result",
    ),
    Mutation(
        name="report-that-moved-nothing-is-success",
        puts_back="An update that touched no row is logged as success.",
        stands_for=("I9",),
        find='logger.warning("Report moved nothing"',
        replace='logger.info("Report taken"',
        caught_by="test_a_report_that_moved_no_row_is_logged_as_a_warning_and_not_as_success",
    ),
    Mutation(
        name="timestamp-must-be-text",
        puts_back="A heartbeat with a Unix timestamp is rejected.",
        stands_for=("R23",),
        find='kind = as_text(message.get("type"))',
        replace='if isinstance(message.get("timestamp"), int):\n'
        '    raise BadFrame("timestamp")\n'
        'kind = as_text(message.get("type"))',
        caught_by="test_a_heartbeat_of_any_shape_counts",
    ),
    Mutation(
        name="report-is-lost-in-a-deadlock",
        puts_back="A report that the database interrupts is lost.",
        stands_for=("R25",),
        find="for pause in RETRY_PAUSES:",
        replace="for pause in ():",
        caught_by="test_a_report_is_settled_although_the_database_interrupts_it",
    ),
    Mutation(
        name="unacknowledged-stays-on-the-old-socket",
        puts_back="What was not acknowledged before a reconnect is not sent over the new connection.",
        stands_for=("R25", "R29"),
        find="if unanswered.ids is not null then",
        replace="if false then",
        caught_by="test_a_new_connection_gets_the_unacknowledged_commands_of_the_older_one",
    ),
    Mutation(
        name="disconnect-by-agent-id",
        puts_back="The old socket's close takes the new connection offline.",
        stands_for=("R17", "I8"),
        find="set connection_id = null, last_seen_at = now() where agent_id = %(agent_id)s"
        " and connection_id = %(connection_id)s",
        replace="set connection_id = null, last_seen_at = now() where agent_id = %(agent_id)s",
        caught_by="test_a_late_disconnect_of_the_older_connection_does_not_change_the_newer_one",
    ),
    Mutation(
        name="one-epoch-for-all-connections",
        puts_back="The connections of one agent cannot be told apart.",
        stands_for=("R35", "I8"),
        find="set epoch = a.epoch + 1,",
        replace="set epoch = greatest(a.epoch, 1),",
        caught_by="test_the_last_of_several_processes_with_one_agent_id_gets_the_commands",
    ),
    Mutation(
        name="heartbeat-without-effect",
        puts_back="An agent that sends heartbeats stays degraded.",
        stands_for=("R21",),
        find="set last_seen_at = now(), spoke = true,",
        replace="set spoke = true,",
        caught_by=HEARTBEATS,
    ),
    Mutation(
        name="stale-after-one-heartbeat",
        puts_back="The threshold of presence equals the heartbeat interval.",
        stands_for=("R22",),
        find="silent > 2.5 * heartbeat",
        replace="silent > 1.0 * heartbeat",
        caught_by=HEARTBEATS,
    ),
    Mutation(
        name="first-word-is-left-out",
        puts_back="An agent that says all in one message, while its row is locked for a moment, looks mute.",
        stands_for=("I15",),
        find="when agent.spoke then (select",
        replace="when true then (select",
        caught_by="test_an_agent_that_says_all_while_its_row_is_locked_for_a_moment_is_not_mute",
    ),
    Mutation(
        name="confirmation-is-lost-with-its-post",
        puts_back="An agent keeps reports for ever that are committed, because the message that said so was not taken.",
        stands_for=("I17",),
        find="if together and not (delivered is not None and delivered.confirmed):",
        replace="if False:",
        caught_by="test_it_is_repeated_if_the_commands_were_not_taken",
    ),
)
