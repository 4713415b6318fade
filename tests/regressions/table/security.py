"""Keys, approval, roles, and what strangers learn."""

from tests.regressions.mutation import Mutation
from tests.regressions.table.paths import FAULTS, FRONT_DOOR, INTAKE, LAYER, SECURITY, STORE

KEYS = SECURITY + "test_a_key_opens_the_socket_of_the_very_agent_that_it_was_given_to"
APPROVAL = SECURITY + "test_an_agent_that_is_not_approved_connects_neither_past_the_authorizer_nor_after_it"
REVOKED = SECURITY + "test_a_revoked_key_opens_nothing_and_its_sockets_are_closed"
TOKENS = SECURITY + "test_a_token_that_is_not_ours_or_over_is_nobodys"

MUTATIONS = (
    Mutation(
        name="key-compared-by-its-prefix",
        puts_back="security: half of a key opens a socket",
        file=LAYER + "access/identity.py",
        old="    return hashlib.sha256(key.lower().encode(",
        new="    return hashlib.sha256(key.lower()[:32].encode(",
        caught_by=(KEYS,),
    ),
    Mutation(
        name="bootstrap-key",
        puts_back="security: one global key that never expires opens any agent",
        file=LAYER + "access/identity.py",
        old='    owner = keys.owner_of(conn, key_hash(key or ""))\n',
        new='    owner = keys.owner_of(conn, key_hash(key or ""))\n'
        '    owner = owner or Owner(agent_id=agent_id, approval="approved", key_id="")  # type: ignore\n',
        caught_by=(KEYS,),
    ),
    Mutation(
        name="approval-is-not-checked-by-the-authorizer",
        puts_back="security: an agent that waits for approval opens a socket",
        file="functions/authorize_agent/app.py",
        old='    allowed = owner is not None and owner.approval == "approved"',
        new="    allowed = owner is not None",
        caught_by=(APPROVAL,),
    ),
    Mutation(
        name="approval-is-not-checked-at-connect",
        puts_back="security: an agent that was rejected meanwhile connects",
        file=STORE + "connections.py",
        old="where agent_id = %(agent_id)s and approval = 'approved' and deleted_at is null",
        new="where agent_id = %(agent_id)s and deleted_at is null",
        caught_by=(APPROVAL,),
    ),
    Mutation(
        name="rejected-agent-gets-commands",
        puts_back="security: a socket that was not closed goes on to get commands",
        file=STORE + "delivery.py",
        old="a.connection_id is not null and a.approval = 'approved'",
        new="a.connection_id is not null",
        caught_by=(FAULTS + "test_a_rejected_agent_gets_nothing_more_over_the_socket_that_it_still_has",),
    ),
    Mutation(
        name="revoked-key-opens",
        puts_back="security: a key cannot be taken back",
        file=STORE + "keys.py",
        old="where k.key_hash = %s and k.revoked_at is null",
        new="where k.key_hash = %s",
        caught_by=(REVOKED,),
    ),
    Mutation(
        name="revoked-key-keeps-its-socket",
        puts_back="security: a revoked key's socket lasts for two hours",
        file=LAYER + "agents/registry.py",
        old="    _close_all(gateway, agents.open_connections(conn, agent_id, key_id))",
        new="    del gateway",
        caught_by=(REVOKED,),
    ),
    Mutation(
        name="new-key-is-ignored",
        puts_back="R32: no second key beside the first, so that none can be replaced",
        file=LAYER + "agents/registry.py",
        old="KEYS_AT_ONCE = 2",
        new="KEYS_AT_ONCE = 1",
        caught_by=(REVOKED,),
    ),
    Mutation(
        name="header-names-as-they-come",
        puts_back="R32: the key is there, and not found",
        file=LAYER + "platform/edge.py",
        old="{name.lower(): value",
        new="{name: value",
        caught_by=(KEYS,),
    ),
    Mutation(
        name="caller-says-where-he-is",
        puts_back="security: an operator's record says what the caller likes, and a lock on his log-in holds nobody",
        file=LAYER + "platform/edge.py",
        old="headers.get(CALLER, seen) if settings.has_front_door() else seen",
        new="headers.get(CALLER, seen)",
        caught_by=(FRONT_DOOR + "test_without_a_front_door_a_caller_does_not_say_where_he_is",),
    ),
    Mutation(
        name="everybody-is-the-front-door",
        puts_back="security: one caller's wrong passwords lock out all who share the front door's address",
        file=LAYER + "platform/edge.py",
        old="headers.get(CALLER, seen) if settings.has_front_door() else seen",
        new="seen",
        caught_by=(FRONT_DOOR + "test_who_calls_is_whom_the_front_door_saw",),
    ),
    Mutation(
        name="registration-wants-what-it-knows",
        puts_back="R32: a field more, and an agent cannot register",
        file=LAYER + "api/documents.py",
        old='ConfigDict(extra="ignore",',
        new='ConfigDict(extra="forbid",',
        caught_by=(SECURITY + "test_an_agent_that_waits_for_approval_registers_and_is_told_so",),
    ),
    Mutation(
        name="pending-is-told-as-approved",
        puts_back="wire: an agent that waits for approval goes on",
        file="functions/agents/app.py",
        old='HTTPStatus.OK if agent.approval == "approved" else HTTPStatus.ACCEPTED',
        new="HTTPStatus.OK",
        caught_by=(SECURITY + "test_an_agent_that_waits_for_approval_registers_and_is_told_so",),
    ),
    Mutation(
        name="registration-tells-which-agents-exist",
        puts_back="security: 404 for an unknown agent, 401 for a wrong key",
        file=LAYER + "agents/registry.py",
        old="    if identity.agent_of(conn, key, introduction.agent_id) is None:",
        new="    find(conn, introduction.agent_id, None)\n"
        "    if identity.agent_of(conn, key, introduction.agent_id) is None:",
        caught_by=(SECURITY + "test_registration_tells_nobody_which_agents_there_are",),
    ),
    Mutation(
        name="database-errors-are-sent",
        puts_back="security: a client reads what PostgreSQL says",
        file=LAYER + "api/resolver.py",
        old='logger.exception("Unexpected error")\n            known = DispatcherError(_OURS)',
        new="known = DispatcherError(str(error))",
        caught_by=(SECURITY + "test_what_the_database_says_is_not_told_to_clients",),
    ),
    Mutation(
        name="database-address-is-sent",
        puts_back="security: a client reads where the database is",
        file=LAYER + "api/resolver.py",
        old="Unavailable(UNREACHABLE)",
        new="Unavailable(str(error))",
        caught_by=(SECURITY + "test_a_database_that_cannot_be_reached_is_a_503_without_its_address",),
    ),
    Mutation(
        name="history-is-deleted-with-the-agent",
        puts_back="security: deleting an agent deletes what it did",
        file=STORE + "agents.py",
        old='conn.execute("update agent_keys set revoked_at',
        new='conn.execute("delete from agent_commands where agent_id = %s", (agent_id,))\n'
        '        conn.execute("update agent_keys set revoked_at',
        caught_by=(SECURITY + "test_an_agent_that_is_deleted_leaves_its_commands_and_their_history",),
    ),
    Mutation(
        name="roles-mean-nothing",
        puts_back="security: a reader sends commands",
        file=LAYER + "access/identity.py",
        old="        if not self.role.allows(needed):",
        new="        if False:",
        caught_by=(SECURITY + "test_only_an_admin_decides_about_agents",),
    ),
    Mutation(
        name="anyone-is-an-operator",
        puts_back="security: a request without a token is answered",
        file=LAYER + "api/resolver.py",
        old='    if "username" not in found:\n',
        new='    found = found if "username" in found else {"username": "nobody", "role": "admin"}\n'
        '    if "username" not in found:\n',
        caught_by=(INTAKE + "test_bad_input_gets_a_problem_and_changes_nothing",),
    ),
    Mutation(
        name="tokens-are-not-verified",
        puts_back="security: whoever writes a token is its operator",
        file=LAYER + "access/identity.py",
        old='options={"require":',
        new='options={"verify_signature": False, "require":',
        caught_by=(TOKENS,),
    ),
    Mutation(
        name="tokens-last-for-ever",
        puts_back="security: a token that is over is good",
        file=LAYER + "access/identity.py",
        old='options={"require":',
        new='options={"verify_exp": False, "require":',
        caught_by=(TOKENS,),
    ),
    Mutation(
        name="unknown-names-are-told",
        puts_back="security: a wrong name and a wrong password get different answers",
        file=LAYER + "access/identity.py",
        old='        raise NotAuthenticated("The username or the password is wrong.")',
        new="        raise NotAuthenticated(f\"The {'password' if account else 'username'} {username!r} is wrong.\")",
        caught_by=(INTAKE + "test_a_password_gives_a_token_that_the_authorizer_knows",),
    ),
)
