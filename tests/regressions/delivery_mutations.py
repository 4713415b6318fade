"""Mutations of submission, of delivery and of the sweep."""

from tests.regressions.mutation import Mutation

ANSWERS = "test_each_answer_has_its_outcome_and_nothing_is_posted_twice"
WAKE_UP = "test_a_command_submitted_while_the_lease_is_held_is_delivered_by_the_holder"
HANDSHAKE = "test_flush_waits_until_the_handshake_is_over_and_then_delivers"

MUTATIONS = (
    # Submission
    Mutation(
        name="answer-before-the-commit",
        puts_back="The transaction stays open: the user has a 202, and nothing is stored.",
        stands_for=("I1",),
        find="_Connection.connect(url, autocommit=True",
        replace="_Connection.connect(url, autocommit=False",
        caught_by="test_a_list_is_accepted_as_a_whole_or_not_at_all",
    ),
    Mutation(
        name="delivery-error-fails-the-202",
        puts_back="An error after the commit is answered with 500.",
        stands_for=("R14", "I1"),
        find='except psycopg.Error as error: logger.warning("Delivery postponed", extra={"agent_id": agent_id,',
        replace='except ZeroDivisionError as error:\n    logger.warning("Delivery postponed", extra={"agent_id": agent_id,',
        caught_by="test_a_release_that_fails_after_the_commit_does_not_change_the_202",
    ),
    Mutation(
        name="session-command-is-not-sent",
        puts_back="DELETE of a session answers success and delivers nothing.",
        stands_for=("R30",),
        find="command = streamspace.command(conn, name, action, by, idempotency_key) deliver_at_once(conn, gateway,",
        replace="command = streamspace.command(conn, name, action, by, idempotency_key)\n"
        "(lambda *_: None)(conn, gateway,",
        caught_by="test_every_action_on_a_session_is_sent_to_its_agent",
    ),
    Mutation(
        name="list-is-not-dispatched",
        puts_back="Only the first command of a list is dispatched.",
        stands_for=("R31", "I15"),
        find="unique = list(dict.fromkeys(agent_ids))",
        replace="unique = list(agent_ids)[:1]",
        caught_by="test_every_command_of_a_list_is_delivered_to_its_own_agent",
    ),
    Mutation(
        name="idempotency-without-comparing",
        puts_back="Another request under the same key gets the first one's 202.",
        stands_for=("I10",),
        find="case when command.request_hash = p_hash then 'replayed' else 'key_reused' end",
        replace="'replayed'",
        caught_by="test_one_idempotency_key_is_one_command",
    ),
    Mutation(
        name="idempotency-of-lists-without-comparing",
        puts_back="Another list under the same key gets the first one's 202.",
        stands_for=("I10",),
        find="case when bool_and(c.request_hash = hash) then 'replayed' else 'key_reused' end",
        replace="'replayed'",
        caught_by="test_an_idempotency_key_of_a_list_is_refused_for_another_list",
    ),
    Mutation(
        name="list-exceeds-a-queue",
        puts_back="The commands of a list do not count for the limit of a queue.",
        stands_for=(),
        find="n.place >= q.full_from",
        replace="false",
        caught_by="test_a_list_may_fill_a_queue_and_not_exceed_it",
    ),
    Mutation(
        name="escapes-are-not-measured",
        puts_back="A command is accepted that no message has room for, because its escaped text is longer than its own.",
        stands_for=(),
        find="6 * octet_length(action)",
        replace="octet_length(action)",
        caught_by="test_a_command_of_a_list_may_fill_a_message_and_not_exceed_it",
    ),
    # The claim
    Mutation(
        name="offline-agent-is-tried",
        puts_back="A command for an agent that has disconnected is posted and uses up its attempts.",
        stands_for=("R8", "R9"),
        find="update agents set connection_id = null, last_seen_at = now()",
        replace="update agents set last_seen_at = now()",
        caught_by="test_a_disconnect_of_the_current_connection_takes_its_agent_offline",
    ),
    Mutation(
        name="no-lease",
        puts_back="Several processes post to one agent at the same time.",
        stands_for=("R13", "R24", "I5"),
        find="(a.lease_expires_at is null or a.lease_expires_at <= now())",
        replace="true",
        caught_by=WAKE_UP,
    ),
    Mutation(
        name="commands-of-other-agents-are-claimed",
        puts_back="An agent gets the commands of another agent.",
        stands_for=("I2", "S3"),
        find="and {f}.session_is_free(agent, c.session_id) order by c.priority desc, c.seq limit room "
        "for no key update)",
        replace="or c.status = 'pending'\n        order by c.priority desc, c.seq\n        limit room\n    "
        "    for no key update)",
        caught_by="test_an_agent_gets_only_its_own_commands",
    ),
    Mutation(
        name="window-is-ignored",
        puts_back="More commands are in flight than the agent's window.",
        stands_for=("I5",),
        find="agent.delivery_window - (",
        replace="agent.delivery_window - 0 * (",
        caught_by="test_a_claim_takes_no_more_than_the_window_has_left",
    ),
    Mutation(
        name="order-by-time",
        puts_back="A clock decides the order of delivery.",
        stands_for=("R27", "I4"),
        find="order by c.priority desc, c.seq limit 1 for no key update of c)",
        replace="order by c.priority desc, c.created_at\nlimit 1\nfor no key update of c)",
        caught_by="test_commands_go_in_the_order_of_acceptance_for_any_created_at",
    ),
    Mutation(
        name="attempt-is-not-counted",
        puts_back="Every delivery is the first attempt.",
        stands_for=("I3",),
        find="attempt = c.attempt + 1,",
        replace="attempt = greatest(c.attempt, 1),",
        caught_by="test_an_agent_never_sees_an_attempt_number_twice",
    ),
    Mutation(
        name="deliver-by-is-ignored",
        puts_back="A command is delivered after its deliver_by.",
        stands_for=("I14",),
        find="and (c.deliver_by is null or c.deliver_by > now()) and (c.incarnation is null or "
        "c.incarnation = incarnation)",
        replace="and (c.incarnation is null or c.incarnation = incarnation)",
        caught_by="test_a_claim_skips_commands_that_are_overdue_or_not_yet_due",
    ),
    # The post
    Mutation(
        name="published-counts-as-sent",
        puts_back="A post to a connection that does not exist counts as sent.",
        stands_for=("R19", "R20"),
        find="HTTPStatus.GONE: Posted.GONE",
        replace="HTTPStatus.GONE: Posted.TAKEN",
        caught_by=ANSWERS,
    ),
    Mutation(
        name="gone-is-failed",
        puts_back="A command for an agent that has just disconnected is marked failed.",
        stands_for=("R9",),
        find="cause += _CAUSES[posted] return len(taken), done._replace(posted=posted, "
        "unsent=_commands(messages), unsent_cause=cause)",
        replace="cause += _CAUSES[posted]\nunsendable += [(each, cause) for each in message.commands]",
        caught_by="test_each_outcome_of_a_post_has_its_own_effect",
    ),
    Mutation(
        name="unanswered-post-is-posted-again",
        puts_back="A post that may have arrived counts as not sent.",
        stands_for=("I3",),
        find="return Posted.UNKNOWN",
        replace="return Posted.REFUSED",
        caught_by=ANSWERS,
    ),
    Mutation(
        name="sent-is-written-after-the-post",
        puts_back="`sent` overwrites an ack that came before it.",
        stands_for=("R15", "I6"),
        find="return claims.release(conn, claim, outcome, look_again=look_again)",
        replace="conn.execute(\n    \"update agent_commands set status = 'sent', ack_deadline = now() "
        'where command_id = any(%s)",\n    ([each.command_id for each in '
        "claim.commands],),\n)\nreturn claims.release(conn, claim, outcome, look_again=look_again)",
        caught_by="test_an_ack_that_arrives_before_the_post_has_returned_is_kept",
    ),
    Mutation(
        name="transaction-open-across-a-post",
        puts_back="A slow gateway holds locks in the database.",
        stands_for=("I13",),
        find="taken, outcome = _send(conn, gateway, claim, deadline)",
        replace='conn.execute("begin")\ntaken, outcome = _send(conn, gateway, claim, deadline)\nconn.execute("commit")',
        caught_by="test_no_transaction_is_open_while_a_post_is_under_way",
    ),
    Mutation(
        name="lost-wake-up",
        puts_back="A command that comes while the lease is held waits for the sweep.",
        stands_for=("R11", "I15"),
        find="look_again=outcome.posted is Posted.TAKEN and _has_time(deadline)",
        replace="look_again=False",
        caught_by=WAKE_UP,
    ),
    # The sweep and the deadlines
    Mutation(
        name="no-polling",
        puts_back="The sweep delivers nothing: pending commands wait for a restart.",
        stands_for=("R11",),
        find="left = deque(agent for agent in due if not agent.needs_welcome)",
        replace="left = deque(agent for agent in due[:0])",
        caught_by="test_a_sweep_sets_unreadable_rows_aside_and_delivers_the_others",
    ),
    Mutation(
        name="one-pass-stops-the-others",
        puts_back="One broken pass ends the sweep.",
        stands_for=("I11",),
        find="except psycopg.Error as error: self.failed += 1",
        replace="except ZeroDivisionError as error:\n    self.failed += 1",
        caught_by="test_a_failed_pass_does_not_stop_the_others",
    ),
    Mutation(
        name="sent-for-ever",
        puts_back="A command that was sent and not acknowledged is never sent again.",
        stands_for=("R29", "I1"),
        find="lambda: _repeat(partial(redelivery.return_unacknowledged, conn), deadline)",
        replace="lambda: 0",
        caught_by="test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left",
    ),
    Mutation(
        name="busy-agent-is-sent-twice",
        puts_back="An agent that executes in its read loop gets the next command again and again.",
        stands_for=("R28",),
        find="and busy.execution_deadline > now()",
        replace="and false",
        caught_by="test_a_missing_ack_does_not_count_while_the_agent_executes",
    ),
    Mutation(
        name="cancelled-is-sent-again",
        puts_back="A command is sent again after its cancel was committed.",
        stands_for=("I14",),
        find="when c.cancel_requested_at is not null then 'cancelled' when {f}.was_last(c, reached) then 'dead'",
        replace="when {f}.was_last(c, reached) then 'dead'",
        caught_by="test_a_cancelled_command_that_is_under_way_ends_and_is_not_sent_again",
    ),
    # Connect
    Mutation(
        name="reconnect-delivers-nothing",
        puts_back="A reconnect delivers nothing.",
        stands_for=("R12",),
        find="return Delivered() if claim is None else deliver(conn, gateway, request.agent_id, deadline, claim=claim)",
        replace="return Delivered()",
        caught_by=HANDSHAKE,
    ),
    Mutation(
        name="flush-does-not-hear-what-the-agent-names",
        puts_back="What arrived over an agent's older connection without an ack is sent again at once over the new one.",
        stands_for=(),
        find="if request.welcome and request.may_have_arrived: _wait_for_resume(conn, request)",
        replace="",
        caught_by="test_what_the_agent_names_first_is_not_sent_again",
    ),
    Mutation(
        name="flush-does-not-wait-for-another-worker",
        puts_back="A command that never went out over the older connection counts as sent once.",
        stands_for=(),
        find="and (not a.spoke or next.sent_at > clock_timestamp() - interval '0.3 seconds')",
        replace="and not a.spoke",
        caught_by="test_a_worker_that_found_the_older_connection_gone_gives_its_attempt_back_first",
    ),
    Mutation(
        name="flush-does-not-wait",
        puts_back="The queue is delivered before the agent is connected.",
        stands_for=("R10",),
        find="while not _is_welcomed(conn, request) and not _reach(gateway, request):",
        replace="while False:",
        caught_by=HANDSHAKE,
    ),
)
