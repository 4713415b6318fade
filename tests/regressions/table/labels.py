"""Labels that limit an operator, left out of a query."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import ACCESS, LAYER, OPERATORS, STORE

ELSEWHERE = OPERATORS + "test_for_an_operator_of_one_region_the_agents_of_another_do_not_exist"
LISTS = OPERATORS + "test_lists_hold_what_the_labels_admit_and_nothing_else"


def _unlimited(what: str, file: str, old: str, new: str, *caught_by: str) -> Mutation:
    return Mutation(
        name=f"labels-do-not-limit-{what}",
        puts_back="security: an operator who is limited to some agents reaches the others",
        file=STORE + file,
        old=old,
        new=new,
        caught_by=caught_by,
    )


MUTATIONS = (
    _unlimited(
        "submitting",
        "commands.py",
        "a.deleted_at is null and {scopes.AGENT}",
        "a.deleted_at is null and (true or {scopes.AGENT})",
        ELSEWHERE + "[commands-POST-/api/v1/agents/us-1/commands-body6]",
    ),
    _unlimited(
        "a-command",
        "commands.py",
        "where command_id = %(command_id)s and {scopes.OF_AGENT}",
        "where command_id = %(command_id)s and (true or {scopes.OF_AGENT})",
        ELSEWHERE + "[commands-GET-/api/v1/commands/cmd-us-1-None]",
    ),
    _unlimited(
        "the-list-of-commands",
        "commands.py",
        "where {scopes.OF_AGENT} and (%(agent_id)s",
        "where (true or {scopes.OF_AGENT}) and (%(agent_id)s",
        LISTS,
    ),
    _unlimited(
        "an-agent",
        "agents.py",
        "where a.agent_id = %(agent_id)s and a.deleted_at is null and {scopes.AGENT}",
        "where a.agent_id = %(agent_id)s and a.deleted_at is null and (true or {scopes.AGENT})",
        ELSEWHERE + "[agents-GET-/api/v1/agents/us-1-None]",
    ),
    _unlimited(
        "the-list-of-agents",
        "agents.py",
        "                  and {scopes.AGENT}\n                order by a.agent_id",
        "                  and (true or {scopes.AGENT})\n                order by a.agent_id",
        LISTS,
    ),
    _unlimited(
        "the-choice-of-an-agent",
        "agents.py",
        "a.approval = 'approved' and {scopes.AGENT}",
        "a.approval = 'approved' and (true or {scopes.AGENT})",
        ACCESS + "test_a_session_is_started_only_at_an_agent_that_its_operator_may_see",
    ),
    _unlimited(
        "a-session",
        "sessions.py",
        "where name = %(name)s and {scopes.OF_AGENT}",
        "where name = %(name)s and (true or {scopes.OF_AGENT})",
        ELSEWHERE + "[sessions-GET-/api/v1/sessions/s-us-1-None]",
    ),
    _unlimited(
        "the-list-of-sessions",
        "sessions.py",
        "or name > %(after)s) and {scopes.OF_AGENT}",
        "or name > %(after)s) and (true or {scopes.OF_AGENT})",
        LISTS,
    ),
    Mutation(
        name="session-at-an-agent-that-waits-for-approval",
        puts_back="security: a session's commands wait for an agent that may not connect",
        file=STORE + "agents.py",
        old="where a.deleted_at is null and a.approval = 'approved' and",
        new="where a.deleted_at is null and",
        caught_by=(ACCESS + "test_a_session_is_started_only_at_an_agent_that_its_operator_may_see",),
    ),
    Mutation(
        name="labels-of-new-agents-are-anyones",
        puts_back="security: a limited admin provides agents beyond his limit",
        file=LAYER + "agents/registry.py",
        old="    if missing:\n",
        new="    if False:\n",
        caught_by=(OPERATORS + "test_an_admin_of_one_region_provides_agents_of_that_region_only",),
    ),
    Mutation(
        name="limited-admin-reads-the-audit-log",
        puts_back="security: a limited admin sees what others do, and makes an unlimited one of himself",
        file=LAYER + "api/resolver.py",
        old="        if operator.scope is not None:\n",
        new="        if False:\n",
        caught_by=(OPERATORS + "test_an_admin_of_one_region_provides_agents_of_that_region_only",),
    ),
    Mutation(
        name="labels-stay-behind-at-the-log-in",
        puts_back="security: an operator's limit is forgotten in his token",
        file=LAYER + "access/identity.py",
        old="at_most(at_most), scope=account.labels)",
        new="at_most(at_most), scope=None)",
        caught_by=(OPERATORS + "test_labels_given_to_an_operator_come_with_his_token",),
    ),
)
