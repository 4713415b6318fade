"""A wrong answer to the question why a command is where it is."""

from tests.mutations.mutation import Mutation
from tests.mutations.table.paths import LAYER, WHY

FILE = LAYER + "why.py"
EACH = WHY + "test_each_situation_has_its_reason_in_a_sentence"


def _unseen(name: str, old: str, new: str, *, case: str = "", caught_by: str = "") -> Mutation:
    return Mutation(
        name=f"why-{name}",
        puts_back="I15: who asks why a command is stuck is told something else",
        file=FILE,
        old=old,
        new=new,
        caught_by=(caught_by or f"{EACH}[{case}]",),
    )


MUTATIONS = (
    _unseen(
        "sees-nobody-away",
        'row["known"] and row["connection_id"] is None',
        "False",
        case="gone_again-agent-away-has been away since 20",
    ),
    _unseen(
        "sees-no-throttling",
        'row["throttled"],\n',
        "False,\n",
        case="throttled-throttled-the next try is 20",
    ),
    _unseen(
        "sees-nothing-in-flight",
        '(row["in_flight"], "behind"',
        '(False, "behind"',
        case="in_flight-behind-Command k0 is with the agent",
    ),
    _unseen(
        "sees-no-priority",
        "and (f.priority, -f.seq) > (c.priority, -c.seq)",
        "and f.seq < c.seq",
        case="outranked-behind-1 commands for the same agent go before it",
    ),
    _unseen(
        "forgets-the-order-of-reasons",
        "    for holds, reason, sentence in reasons:",
        "    for holds, reason, sentence in reversed(reasons):",
        case="deleted-agent-deleted-was deleted 20",
    ),
    _unseen(
        "takes-other-sessions-for-a-reason",
        "and (a.dialect <> 'silent' or f.session_id is not distinct from c.session_id)",
        "",
        caught_by=WHY + "test_a_docker_agents_command_is_behind_its_own_session_only",
    ),
)
