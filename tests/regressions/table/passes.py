"""Passes of the sweep that are skipped, that stop others, or that never end."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import LAYER, PASSES, STORE, SWEEP

ALL_CLOCKS = PASSES + "test_every_clock_is_looked_at_in_one_sweep"
ENDS = PASSES + "test_every_end_that_a_sweep_makes_has_its_time_and_no_clock_left"
FILE = LAYER + "commands/sweep.py"

MUTATIONS = (
    Mutation(
        name="nothing-times-out",
        puts_back="I1: what an agent has forgotten is executing for ever",
        file=FILE,
        old="lambda: _all(lambda: clocks.time_out(conn, BATCH), deadline)",
        new="lambda: 0",
        caught_by=(ALL_CLOCKS,),
    ),
    Mutation(
        name="nothing-is-pruned",
        puts_back="load: the tables grow for ever",
        file=FILE,
        old="lambda: _all(lambda: clocks.prune(conn, days, BATCH), deadline)",
        new="lambda: 0",
        caught_by=(ALL_CLOCKS,),
    ),
    Mutation(
        name="history-outlives-its-command",
        puts_back="load: the history grows for ever, and the audit takes what was pruned for lost",
        file=STORE + "clocks.py",
        old="(delete from command_history where command_id in (select command_id from old))",
        new="(delete from command_history where command_id in (select command_id from old) and false)",
        caught_by=(SWEEP + "test_what_ended_long_ago_is_pruned_with_its_history",),
    ),
    Mutation(
        name="one-batch-a-sweep",
        puts_back="load: a day's backlog is ended at a batch a minute",
        file=FILE,
        old="        if moved < BATCH:\n            break",
        new="        break",
        caught_by=(PASSES + "test_a_pass_goes_on_while_its_batches_are_full",),
    ),
    Mutation(
        name="pass-without-an-end",
        puts_back="function timeout: the first pass takes all the time, and is killed in it",
        file=FILE,
        old="    while deadline() > SETTLE_SECONDS:\n        moved",
        new="    while True:\n        moved",
        caught_by=(PASSES + "test_a_pass_with_full_batches_ends_when_the_time_is_up",),
    ),
    Mutation(
        name="passes-are-begun-without-time",
        puts_back="function timeout: a pass is begun, and killed in the middle",
        file=FILE,
        old="        if self._deadline() < SETTLE_SECONDS:\n",
        new="        if False:\n",
        caught_by=(PASSES + "test_without_time_no_pass_is_begun",),
    ),
    Mutation(
        name="one-agent-stops-the-others",
        puts_back="I11: what the database says of one agent's rows ends the sweep",
        file=FILE,
        old='        passes.run("deliver", partial(deliver, conn, gateway, agent.agent_id, deadline), Delivered())\n',
        new="        deliver(conn, gateway, agent.agent_id, deadline)\n",
        caught_by=(PASSES + "test_one_agent_that_cannot_be_delivered_to_stops_no_other",),
    ),
    Mutation(
        name="failed-pass-is-not-counted",
        puts_back="I11: a pass fails in every sweep, and no alarm tells of it",
        file=FILE,
        old="            self.failed += 1\n",
        new="",
        caught_by=(SWEEP + "test_a_pass_that_fails_stops_no_other",),
    ),
    Mutation(
        name="end-without-its-time",
        puts_back="I12: dead, at no time; and it is never pruned",
        file=STORE + "delivery.py",
        old="                then null else clock_timestamp() end,\n",
        new="                then null else null end,\n",
        caught_by=(ENDS,),
    ),
    Mutation(
        name="expired-without-its-time",
        puts_back="I12: expired, at no time; and it is never pruned",
        file=STORE + "clocks.py",
        old="set status = 'expired', completed_at = clock_timestamp(),",
        new="set status = 'expired',",
        caught_by=(ENDS,),
    ),
    Mutation(
        name="timed-out-without-its-time",
        puts_back="I12: timed out, at no time; and it is never pruned",
        file=STORE + "clocks.py",
        old="set status = 'timed_out', completed_at = clock_timestamp(),",
        new="set status = 'timed_out',",
        caught_by=(ENDS,),
    ),
    Mutation(
        name="flush-waits-for-ever",
        puts_back="function timeout: a client that has gone in its handshake keeps a function until it is killed",
        file=LAYER + "commands/flush.py",
        old="        if waited > patience or not",
        new="        if not",
        caught_by=(PASSES + "test_flush_does_not_wait_for_ever_for_a_handshake",),
    ),
    Mutation(
        name="sweep-shares-out-nothing-in-a-hurry",
        puts_back="I15: who is not delivered to in this run is handed over to nobody",
        file=FILE,
        old="        if deadline() > POST_SECONDS:\n",
        new="        if deadline() < POST_SECONDS:\n",
        caught_by=(SWEEP + "test_more_agents_than_one_run_delivers_to_are_shared_out",),
    ),
)
