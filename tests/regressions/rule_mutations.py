"""Mutations of the rules about attempts, late reports, cancels and deleted agents; the simulation's scenarios catch them."""

from tests.regressions.mutation import Mutation

SCENARIOS = "test_a_scenario_breaks_no_invariant"

MUTATIONS = (
    # Attempts
    Mutation(
        name="refusal-uses-an-attempt",
        puts_back="A post that the gateway refuses counts as an attempt, until none is left.",
        stands_for=("I3",),
        find="attempt = case when reached then c.attempt else c.attempt - 1 end",
        replace="attempt = c.attempt",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="attempt-is-given-back-twice",
        puts_back="A release that is repeated takes the attempt of a later claim back, and the agent sees its number twice.",
        stands_for=("I3",),
        find="and (c.status = 'sent' and c.moves = ended.moves",
        replace="and (c.status = 'sent' and c.moves >= ended.moves",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="reconnect-storm-uses-all-attempts",
        puts_back="Two processes with one id throw each other out, and use all attempts within seconds.",
        stands_for=("I3", "R35"),
        find="when reached and c.attempt >= 2 then c.sent_at",
        replace="when false then c.sent_at",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="mute-agent-executes-again-and-again",
        puts_back="An agent that executes and says nothing gets its command again and again.",
        stands_for=("I3",),
        find="and not {f}.is_mute(a)",
        replace="",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="claim-is-younger-than-it-is",
        puts_back="A process that was frozen after its claim posts what another one has posted meanwhile.",
        stands_for=("I3", "I5"),
        find="elapsed = time.monotonic() - claim.begun return min(",
        replace="elapsed = 0.0\nreturn min(",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="stop-is-posted-for-ever",
        puts_back="A request to stop a command is posted to a closed connection until the function's time is up.",
        stands_for=("I8",),
        find="posted = gateway.post(claim.connection_id, stop_message(command_id, attempt)) if posted is not Posted.TAKEN:",
        replace="posted = gateway.post(claim.connection_id, stop_message(command_id, attempt))\n"
        "if posted is not Posted.TAKEN:\n    continue\nif False:",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="command-before-the-welcome",
        puts_back="An agent of protocol 2 whose flush was lost gets commands before its welcome.",
        stands_for=("I4",),
        find="a.live or (a.dialect <> 'batching' and a.connected_at < now() - interval '10 seconds')",
        replace="a.live or a.connected_at < now() - interval '10 seconds'",
        caught_by=SCENARIOS,
    ),
    # Reports
    Mutation(
        name="dead-is-final",
        puts_back="The result of a command that was given up as dead is thrown away.",
        stands_for=("I6", "I7"),
        find="'timed_out', 'dead', 'expired', 'cancelled') and not c.cancel_confirmed and c.attempt > 0 returning",
        replace="'timed_out', 'expired', 'cancelled') and not c.cancel_confirmed and c.attempt > 0 returning",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="confirmed-cancel-is-replaced",
        puts_back="A result replaces a cancel that the agent has confirmed.",
        stands_for=("I6",),
        find="and not c.cancel_confirmed and c.attempt > 0 returning",
        replace="and c.attempt > 0 returning",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="crash-is-not-noticed",
        puts_back="What an agent lost in a crash waits for its execution timeout.",
        stands_for=("I7",),
        find="and c.epoch < current and c.command_id <> all(ids)",
        replace="and false",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="report-is-lost-while-the-database-is-away",
        puts_back="What an agent says while the database cannot be reached is lost.",
        stands_for=("I17", "R25"),
        find="late_reports.keep(said, event_id)",
        replace="",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="late-reports-overtake-each-other",
        puts_back="Reports that were kept are settled in another order than they were written in.",
        stands_for=("I17",),
        find="if message.group in waiting:",
        replace="if False:",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="answer-settles-two-commands",
        puts_back="A docker-agent's answer that is settled again ends the session's next command, which is never executed.",
        stands_for=("I17", "I2"),
        find="and p_event <> all(k.answered)",
        replace="and p_event is not null",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="repeated-ack-takes-from-the-queue",
        puts_back="An ack that is said again takes a command out of the queue that waits for its next attempt.",
        stands_for=("I17",),
        find="c.attempt > coalesce(c.answered_attempt, 0) and case",
        replace="c.attempt > 0 and case",
        caught_by=SCENARIOS,
    ),
    # Cancels
    Mutation(
        name="cancel-is-told-once",
        puts_back="An agent that connects again is not asked again to stop a command.",
        stands_for=("I18",),
        find="set stop_epoch = p_epoch",
        replace="set stop_wanted = false",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="time-out-is-not-told",
        puts_back="An agent goes on executing a command that has timed out.",
        stands_for=("I18",),
        find="stop_wanted = true,",
        replace="stop_wanted = false,",
        caught_by=SCENARIOS,
    ),
    # Deleted agents
    Mutation(
        name="deleted-agent-leaves-commands",
        puts_back="The commands of a deleted agent are pending for ever.",
        stands_for=("I19", "I1"),
        find="select command_id from pending union all select command_id from sent",
        replace="select command_id from sent",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="new-agent-gets-old-commands",
        puts_back="A new agent gets a command that was accepted for a deleted one with its id.",
        stands_for=("I19",),
        find="and (c.incarnation is null or c.incarnation = incarnation)",
        replace="",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="new-agent-stops-old-commands",
        puts_back="A new agent is asked to stop a command of a deleted one with its id.",
        stands_for=("I19",),
        find="and c.status in ('sent', 'acknowledged', 'timed_out') and (c.incarnation is null or "
        "c.incarnation = agent.incarnation)",
        replace="and c.status in ('sent', 'acknowledged', 'timed_out')",
        caught_by=SCENARIOS,
    ),
    Mutation(
        name="orphan-waits-for-ever",
        puts_back="A command that was accepted while its agent was deleted is pending for ever if the id is used again.",
        stands_for=("I1", "I19"),
        find="or (a.incarnation > 1 and a.created_at > now() - interval '1 hour')",
        replace="",
        caught_by=SCENARIOS,
    ),
)
