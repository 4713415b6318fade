"""What comes too late: posts, answers, connections, rows that somebody else keeps locked."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import FROZEN, LAYER, LOCKED, OLD, REDRIVE, STORE

MUTATIONS = (
    Mutation(
        name="answer-over-an-older-connection-is-of-the-newer",
        puts_back="I7: a late answer settles a command that its agent has not seen when it gave it",
        file=STORE + "settlement.py",
        old="and h.epoch <= case when",
        new="and 0 <= case when",
        caught_by=(OLD + "test_an_answer_over_an_old_connection_settles_nothing_that_went_only_over_a_newer_one",),
    ),
    Mutation(
        name="posting-past-the-ack-deadline",
        puts_back="I3: what the sweep has given to another one meanwhile is posted with the smaller attempt",
        file=LAYER + "commands/delivery.py",
        old="POSTING_SECONDS = min(LEASE_SECONDS, 0.9 * ACK_SECONDS)",
        new="POSTING_SECONDS = float(LEASE_SECONDS)",
        caught_by=(FROZEN + "test_what_was_claimed_too_long_ago_is_not_posted",),
    ),
    Mutation(
        name="time-is-counted-from-after-the-claim",
        puts_back="I3: a claim whose answer was late is posted when its lease is over",
        file=LAYER + "commands/delivery.py",
        old="        begun = time.monotonic()\n        claim = store.claim(conn, agent_id)\n",
        new="        claim = store.claim(conn, agent_id)\n        begun = time.monotonic()\n",
        caught_by=(FROZEN + "test_what_was_claimed_too_long_ago_is_not_posted",),
    ),
    Mutation(
        name="turning-round-a-locked-row",
        puts_back="lock timeouts: a delivery spends all its time on a row that somebody else keeps locked",
        file=LAYER + "commands/delivery.py",
        old="        if empty == EMPTY_CLAIMS:",
        new="        if empty < 0:",
        caught_by=(LOCKED + "test_delivery_does_not_turn_round_and_round_a_locked_row",),
    ),
    Mutation(
        name="claim-waits-for-locks",
        puts_back="lock timeouts, I11: one row that somebody works on keeps the sweep from every agent behind it",
        file=STORE + "delivery.py",
        old="                for update of c skip locked))",
        new="                for update of c))",
        caught_by=(LOCKED + "test_a_sweep_goes_around_a_locked_row_and_delivers_it_when_it_is_free",),
    ),
    Mutation(
        name="absent-once-absent-for-ever",
        puts_back="I15: an agent that was taken for absent, and speaks again, gets no commands",
        file=STORE + "agents.py",
        old="or (a.connection_id is null and a.deleted_at is null and exists (",
        new="or (false and exists (",
        caught_by=(OLD + "test_an_agent_that_was_taken_for_absent_and_speaks_again_gets_its_commands",),
    ),
    Mutation(
        name="older-connection-becomes-the-route",
        puts_back="I8: commands go to an older connection, because it spoke while the newer one was away",
        file=STORE + "agents.py",
        old=" and k.epoch = a.epoch)))",
        new=")))",
        caught_by=(OLD + "test_no_other_connection_becomes_the_route_by_speaking",),
    ),
    Mutation(
        name="cut-connections-are-kept",
        puts_back="the 2 h cut: each handshake closes every connection that the agent ever had",
        file=STORE + "connections.py",
        old="where agent_id = %s and connected_at < now() - %s * interval '1 hour'",
        new="where agent_id = %s and connected_at < now() - 1000 * %s * interval '1 hour'",
        caught_by=(OLD + "test_connections_whose_disconnect_was_lost_are_not_closed_at_every_handshake_for_ever",),
    ),
    Mutation(
        name="redriven-through-a-decoder",
        puts_back="I11: what is redriven is another command than the one that failed",
        file=STORE + "commands.py",
        old="case when %(redrive_of)s::text is null then",
        new="case when true or %(redrive_of)s::text is null then",
        caught_by=(REDRIVE + "test_what_is_redriven_goes_out_with_the_payload_that_was_stored",),
    ),
)
