"""The clocks and the sweep."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import CLOCKS, DELIVERY, FAULTS, LAYER, SCHEMA, STATES, STATISTICS, STORE, SWEEP

BOUNDED = FAULTS + "test_a_clocks_pass_is_bounded_takes_the_longest_overdue_first_and_waits_for_no_lock"
CANCELLED = CLOCKS + "test_a_cancel_while_it_is_under_way_ends_it_instead_of_sending_it_again"

STALE = STATISTICS + "test_no_statement_walks_the_backlog"
PAST = STATISTICS + "test_no_statement_walks_an_agents_past"

MUTATIONS = (
    Mutation(
        name="past-is-walked",
        puts_back="I15: each look at an agent's queue reads all that it ever did",
        file=SCHEMA,
        old="on agent_commands (('' || agent_id), seq);",
        new="on agent_commands (agent_id, seq);",
        caught_by=(PAST + "[before-settle]",),
    ),
    Mutation(
        name="queues-are-joined",
        puts_back="I15: the sweep reads the queues of all agents, those of the absent too",
        file=STORE + "delivery.py",
        old=" order by c.priority desc, c.seq offset 0)",
        new=")",
        caught_by=(PAST + "[since-find what is due]",),
    ),
    Mutation(
        name="filtered-list-walks-all",
        puts_back="load: what waits for one agent is searched among all commands",
        file=STORE + "commands.py",
        old='"seq desc") if filtered',
        new='"-seq") if filtered',
        caught_by=(STATISTICS + "test_a_list_reads_no_more_than_its_page",),
    ),
    Mutation(
        name="guard-that-the-planner-sees",
        puts_back="load: after an outage a sweep walks a million rows, until someone analyzes the table",
        file=STORE + "clocks.py",
        old="order by deliver_by limit %s for update skip locked)) and (status || '') = any(%s)",
        new="order by deliver_by limit %s for update skip locked)) and status = any(%s)",
        caught_by=(STALE + "[expire]",),
    ),
    Mutation(
        name="no-polling",
        puts_back="R11: what is pending waits for a restart",
        file=LAYER + "commands/sweep.py",
        old="for agent in due[:INLINE]",
        new="for agent in due[:0]",
        caught_by=(DELIVERY + "test_a_sweep_delivers_around_what_cannot_be_read",),
    ),
    Mutation(
        name="what-is-in-flight-is-dispatched-again",
        puts_back="R13: every sweep sends again what is under way",
        file=STORE + "delivery.py",
        old="    c.agent_id = a.agent_id and c.status = 'pending'\n",
        new="    c.agent_id = a.agent_id and c.status in ('pending', 'sent')\n",
        caught_by=(FAULTS + "test_two_sweepers_at_once_send_each_command_once",),
    ),
    Mutation(
        name="sent-for-ever",
        puts_back="R29: what was sent and not acknowledged is never sent again",
        file=LAYER + "commands/sweep.py",
        old="lambda: _all(lambda: clocks.release_unacknowledged(conn, BATCH), deadline)",
        new="lambda: 0",
        caught_by=(CLOCKS + "test_an_unacknowledged_command_is_sent_again_with_a_larger_attempt_until_none_is_left",),
    ),
    Mutation(
        name="busy-agent-is-sent-twice",
        puts_back="R28: an agent that executes in its read loop gets the next command again and again",
        file=STORE + "clocks.py",
        old="and busy.execution_deadline > now() and a.connection_id is not null)",
        new="and false)",
        caught_by=(CLOCKS + "test_the_silence_of_an_agent_that_executes_means_nothing",),
    ),
    Mutation(
        name="expired-is-kept",
        puts_back="I1, I14: what may wait no longer waits for ever",
        file=LAYER + "commands/sweep.py",
        old="lambda: _all(lambda: clocks.expire(conn, BATCH), deadline)",
        new="lambda: 0",
        caught_by=(CLOCKS + "test_a_command_is_not_delivered_before_its_time_nor_after_it",),
    ),
    Mutation(
        name="scan-without-a-limit",
        puts_back="load: one statement ends a million rows, and times out",
        file=STORE + "clocks.py",
        old="            order by deliver_by limit %s for",
        new="            order by deliver_by limit 1000 * %s for",
        caught_by=(BOUNDED + "[expire]",),
    ),
    Mutation(
        name="scan-without-an-order",
        puts_back="load: what is overdue for longest is not ended first",
        file=STORE + "clocks.py",
        old="            order by execution_deadline limit",
        new="            order by execution_deadline desc limit",
        caught_by=(BOUNDED + "[time_out]",),
    ),
    Mutation(
        name="scan-waits-for-locks",
        puts_back="lock timeouts: one row that somebody works on stops the pass",
        file=STORE + "clocks.py",
        old="for update of s skip locked",
        new="for update of s",
        caught_by=(BOUNDED + "[release_unacknowledged]",),
    ),
    Mutation(
        name="one-pass-stops-the-others",
        puts_back="I11, old code on a new schema: a broken pass ends the sweep",
        file=LAYER + "commands/sweep.py",
        old="        except psycopg.Error as error:",
        new="        except ZeroDivisionError as error:",
        caught_by=(SWEEP + "test_a_pass_that_fails_stops_no_other",),
    ),
    Mutation(
        name="sweep-of-everyone",
        puts_back="a storm of reconnects: one run delivers to all agents, and is killed",
        file=LAYER + "commands/sweep.py",
        old="    for agent in due[INLINE:]:\n",
        new="    for agent in due[:0]:\n",
        caught_by=(SWEEP + "test_more_agents_than_one_run_delivers_to_are_shared_out",),
    ),
    Mutation(
        name="absent-for-ever",
        puts_back="10 min idle, half-open: a connection whose $disconnect never came is kept",
        file=LAYER + "commands/sweep.py",
        old="lambda: _forget_absent(conn, gateway)",
        new="lambda: 0",
        caught_by=(SWEEP + "test_a_connection_that_is_silent_for_too_long_is_forgotten",),
    ),
    Mutation(
        name="prune-whatever-its-age",
        puts_back="I2: what ended yesterday is gone",
        file=STORE + "clocks.py",
        old="completed_at < now() - %s * interval '1 day'",
        new="completed_at < now() + %s * interval '1 day'",
        caught_by=(SWEEP + "test_what_ended_long_ago_is_pruned_with_its_history",),
    ),
    Mutation(
        name="cancelled-is-sent-again",
        puts_back="I14: the next attempt of what is to be cancelled is made",
        file=STORE + "delivery.py",
        old="            status = case when c.cancel_requested_at is not null then 'cancelled'\n                when",
        new="            status = case when",
        caught_by=(CANCELLED,),
    ),
    Mutation(
        name="expire-without-a-guard",
        puts_back="R16, I6: what was sent expires",
        file=STORE + "clocks.py",
        old="where ('' || status) = 'pending' and deliver_by <= now()\n"
        "            order by deliver_by limit %s for update skip locked)) and (status || '') = any(%s)",
        new="where deliver_by <= now()\n"
        "            order by deliver_by limit %s for update skip locked)) and %s::text[] is not null",
        caught_by=(STATES + "[expire-sent]",),
    ),
    Mutation(
        name="time-out-without-a-guard",
        puts_back="R16, I6: what was only sent times out",
        file=STORE + "clocks.py",
        old="where status = 'acknowledged' and execution_deadline <= now()\n"
        "            order by execution_deadline limit %s for update skip locked)) and (status || '') = any(%s)",
        new="where status in ('acknowledged', 'sent')\n"
        "            order by execution_deadline limit %s for update skip locked)) and %s::text[] is not null",
        caught_by=(STATES + "[time_out-sent]",),
    ),
    Mutation(
        name="give-back-without-a-guard",
        puts_back="R16, I6: an acknowledged command is pending again",
        file=STORE + "delivery.py",
        old=" and c.attempt = attempts.attempt and c.status = 'sent'",
        new=" and c.attempt = attempts.attempt",
        caught_by=(STATES + "[release-acknowledged]",),
    ),
)
