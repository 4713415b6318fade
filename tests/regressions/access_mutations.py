"""Mutations of keys, approval, ownership and roles, and of what unauthenticated callers learn."""

from tests.regressions.mutation import Mutation

REVOKED = "test_a_revoked_key_is_refused_and_its_connections_are_closed"

MUTATIONS = (
    Mutation(
        name="bootstrap-key",
        puts_back="Any key opens any agent.",
        stands_for=("S1",),
        find="return owner if owner and hmac.compare_digest(",
        replace='return KeyOwner(agent_id=agent_id, approval="approved", key_id=__import__("uuid").uuid4())\n'
        "return owner if owner and hmac.compare_digest(",
        caught_by="test_a_key_opens_connections_of_its_own_agent_only",
    ),
    Mutation(
        name="new-key-is-refused",
        puts_back="An agent cannot have a second key, so no key can be rotated.",
        stands_for=("R32",),
        find="KEYS_AT_ONCE = 2",
        replace="KEYS_AT_ONCE = 1",
        caught_by=REVOKED,
    ),
    Mutation(
        name="approval-is-not-checked",
        puts_back="An agent that was rejected connects.",
        stands_for=("S2",),
        find="where a.agent_id = p_agent_id and a.approval = 'approved' and a.deleted_at is null returning",
        replace="where a.agent_id = p_agent_id\n      and a.deleted_at is null\n    returning",
        caught_by="test_an_unapproved_agent_is_refused_by_the_authorizer_and_by_connect",
    ),
    Mutation(
        name="ack-of-anyones-command",
        puts_back="An agent acknowledges the command of another agent.",
        stands_for=("S3", "I9"),
        find="and said.kind = 'ack' and c.command_id = said.command_id and c.agent_id = p_agent_id",
        replace="and said.kind = 'ack'\n and c.command_id = said.command_id",
        caught_by="test_no_agent_settles_another_agents_command",
    ),
    Mutation(
        name="revoked-key-keeps-its-socket",
        puts_back="The socket of a revoked key stays open for two hours.",
        stands_for=("S5",),
        find="for connection_id in connections.open_ids(conn, agent_id, key_id):",
        replace="for connection_id in list[str]():",
        caught_by=REVOKED,
    ),
    Mutation(
        name="registration-tells-which-agents-exist",
        puts_back="Registration answers 404 for an unknown agent and 401 for a wrong key.",
        stands_for=("S6",),
        find="agent_keys.owner_of(conn, key, registration.agent_id) is None",
        replace="registry.find(conn, registration.agent_id, None) "
        "and agent_keys.owner_of(conn, key, registration.agent_id) is None",
        caught_by="test_registration_does_not_reveal_which_agents_exist",
    ),
    Mutation(
        name="database-errors-are-sent",
        puts_back="A client gets PostgreSQL's error messages.",
        stands_for=("S7",),
        find='logger.exception("Unexpected error") known = DispatcherError(_UNEXPECTED)',
        replace="known = DispatcherError(str(error))",
        caught_by="test_database_errors_are_not_sent_to_clients",
    ),
    Mutation(
        name="history-is-deleted-with-the-agent",
        puts_back="Deleting an agent deletes its commands.",
        stands_for=("S8",),
        find='conn.execute("update agent_keys set revoked_at',
        replace='conn.execute("delete from agent_commands where agent_id = %s", (agent_id,))\n'
        'conn.execute("update agent_keys set revoked_at',
        caught_by="test_deleting_an_agent_keeps_its_commands_and_their_history",
    ),
    Mutation(
        name="roles-mean-nothing",
        puts_back="A reader approves and rejects agents.",
        stands_for=("S10",),
        find="if not self.role.allows(needed):",
        replace="if False:",
        caught_by="test_only_an_admin_manages_agents",
    ),
    Mutation(
        name="tokens-are-not-verified",
        puts_back="A token with a forged signature is accepted.",
        stands_for=("S10",),
        find='issuer=ISSUER, options={"require":',
        replace='issuer=ISSUER,\noptions={"verify_signature": False, "require":',
        caught_by="test_a_foreign_or_expired_token_is_not_accepted",
    ),
    Mutation(
        name="tokens-outlive-a-changed-password",
        puts_back="A token of before the change of a password is accepted until it expires.",
        stands_for=("S10",),
        find="disabled_at is not null, valid_after > to_timestamp(%s)",
        replace="disabled_at is not null, valid_after > to_timestamp(%s) + interval '1 year'",
        caught_by="test_fewer_rights_end_every_token_of_before",
    ),
    Mutation(
        name="a-token-outlives-the-one-that-made-it",
        puts_back="An API token goes on when the token that made it is revoked.",
        stands_for=("S10",),
        find="where p.token_id = any (t.made_with) and p.revoked_at is null",
        replace="where p.token_id = any (t.made_with)",
        caught_by="test_a_token_dies_with_the_one_that_made_it",
    ),
    Mutation(
        name="attempts-are-not-reserved",
        puts_back="Wrong passwords in parallel are all checked before one of them is counted.",
        stands_for=("S10",),
        find="set subject = excluded.subject returning",
        replace="set subject = excluded.subject where false returning",
        caught_by="test_of_many_wrong_passwords_in_parallel_exactly_the_free_ones_are_evaluated",
    ),
    Mutation(
        name="the-last-admin-is-demoted",
        puts_back="The only admin becomes a reader, and nobody can change it.",
        stands_for=("S10",),
        find="if not before.is_unlimited_admin:",
        replace="if before.is_unlimited_admin:",
        caught_by="test_the_last_unlimited_admin_cannot_be_demoted_or_limited",
    ),
    Mutation(
        name="a-token-is-made-while-rights-end",
        puts_back="A token that is made between the authentication and the end of the rights survives.",
        stands_for=("S10",),
        find="if by.credential is None: return",
        replace="if by.credential is None or by.username: return",
        caught_by="test_what_is_made_after_the_rights_ended_is_refused",
    ),
)
