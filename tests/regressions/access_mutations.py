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
        find="and a.approval = 'approved' and a.deleted_at is null returning",
        replace="and a.deleted_at is null returning",
        caught_by="test_an_unapproved_agent_is_refused_by_the_authorizer_and_by_connect",
    ),
    Mutation(
        name="ack-of-anyones-command",
        puts_back="An agent acknowledges the command of another agent.",
        stands_for=("S3", "I9"),
        find=(
            "and said.kind = 'ack' and c.command_id = said.command_id and c.agent_id = p_agent_id and"
            " (c.incarnation is null or c.incarnation = mine)"
        ),
        replace="and said.kind = 'ack' and c.command_id = said.command_id",
        caught_by="test_no_agent_settles_another_agents_command",
    ),
    Mutation(
        name="status-of-anyones-session",
        puts_back="A status message updates the session of another agent.",
        stands_for=("S4",),
        find="where name = %s and agent_id = %s",
        replace="where name = %s and %s::text is not null",
        caught_by="test_an_agents_status_changes_only_its_own_sessions",
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
)
