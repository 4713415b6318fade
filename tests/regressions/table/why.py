"""A wrong answer to the question why a command is where it is."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import LAYER, STORE, WHY

EACH = WHY + "test_each_situation_has_a_word_for_programs_and_a_sentence_for_people"
BEHIND = WHY + "test_a_command_behind_others_names_the_one_that_it_waits_for"


def _wrong(name: str, file: str, old: str, new: str, caught_by: str) -> Mutation:
    return Mutation(
        name=f"why-{name}",
        puts_back="I15: who asks why a command is stuck is told something else",
        file=file,
        old=old,
        new=new,
        caught_by=(caught_by,),
    )


MUTATIONS = (
    _wrong(
        "sees-nobody-away",
        LAYER + "commands/explanation.py",
        'row["known"] and row["connection_id"] is None',
        "False",
        EACH,
    ),
    _wrong("sees-no-throttling", LAYER + "commands/explanation.py", 'row["throttled"],\n', "False,\n", EACH),
    _wrong(
        "sees-nothing-in-flight",
        LAYER + "commands/explanation.py",
        '(row["window_full"], "behind"',
        '(False, "behind"',
        BEHIND,
    ),
    _wrong(
        "forgets-the-order-of-reasons",
        LAYER + "commands/explanation.py",
        "    for holds, reason, sentence in reasons:",
        "    for holds, reason, sentence in reversed(reasons):",
        EACH,
    ),
    _wrong(
        "names-the-last-of-the-queue",
        STORE + "circumstances.py",
        "{_BEFORE_IT} order by f.priority desc, f.seq limit 1",
        "{_BEFORE_IT} order by f.seq desc limit 1",
        BEHIND,
    ),
    _wrong(
        "takes-other-sessions-for-a-reason",
        STORE + "circumstances.py",
        "and (a.dialect <> 'silent' or f.session_id is not distinct from c.session_id)",
        "",
        WHY + "test_a_docker_agents_command_is_behind_its_own_session_only",
    ),
    _wrong(
        "takes-a-window-with-room-for-a-reason",
        STORE + "circumstances.py",
        "flight.number >= case a.dialect when 'silent' then 1 else a.delivery_window end",
        "flight.number >= 1",
        WHY + "test_what_is_with_an_agent_that_takes_several_is_no_reason_to_wait",
    ),
)
