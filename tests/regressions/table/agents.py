"""A acts for B: whose command, whose session, whose socket."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import GUARDS, LAYER, PRESENCE, SECURITY, STORE

OTHERS = (SECURITY + "test_no_agent_settles_another_agents_command",)
FILE = STORE + "settlement.py"


def _of_anyone(what: str, old: str, new: str) -> Mutation:
    return Mutation(
        name=f"{what}-of-anyones-command",
        puts_back=f"security, I9: the authenticated id is not read: {what} moves another agent's command",
        file=FILE,
        old=old,
        new=new,
        caught_by=OTHERS,
    )


MUTATIONS = (
    _of_anyone(
        "ack",
        "where c.command_id = ack.command_id and c.agent_id = %(agent_id)s",
        "where c.command_id = ack.command_id",
    ),
    _of_anyone(
        "complete",
        "where c.command_id = done.command_id and c.agent_id = %s",
        "where c.command_id = done.command_id and %s::text is not null",
    ),
    _of_anyone(
        "failed",
        "c.agent_id = %(agent_id)s and c.status = any(%(sources)s) and c.attempt > 0\n          and (c.status <> all",
        "c.status = any(%(sources)s) and c.attempt > 0\n          and (c.status <> all",
    ),
    Mutation(
        name="retry-of-anyones-command",
        puts_back="security, I9: the authenticated id is not read: another agent's command is tried again",
        file=FILE,
        old="c.agent_id = %(agent_id)s and c.status = any(%(sources)s)\n          and c.attempt between",
        new="c.status = any(%(sources)s)\n          and c.attempt between",
        caught_by=(GUARDS + "test_no_agent_asks_for_another_attempt_of_another_agents_command",),
    ),
    _of_anyone(
        "progress",
        "c.agent_id = %(agent_id)s and c.status = 'acknowledged'",
        "c.status = 'acknowledged'",
    ),
    _of_anyone(
        "cancelled",
        "c.agent_id = %(agent_id)s and c.status = any(%(sources)s)\n          and c.cancel_requested_at is not null",
        "c.status = any(%(sources)s)\n          and c.cancel_requested_at is not null",
    ),
    Mutation(
        name="status-of-anyones-session",
        puts_back="security: `status` updates anyone's session",
        file=STORE + "sessions.py",
        old="where name = %s and agent_id = %s returning name",
        new="where name = %s and %s::text is not null returning name",
        caught_by=(PRESENCE + "test_an_agents_status_changes_its_own_sessions_and_nobody_elses",),
    ),
    Mutation(
        name="agent-id-of-the-query",
        puts_back="security: the id that was asked for counts, and not the key's",
        file=LAYER + "access/identity.py",
        old="return owner if owner and hmac.compare_digest(owner.agent_id.encode(), agent_id.encode()) else None",
        new="return owner",
        caught_by=(SECURITY + "test_a_key_opens_the_socket_of_the_very_agent_that_it_was_given_to",),
    ),
)
