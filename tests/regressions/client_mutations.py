"""Mutations of the HTTP client and the command line."""

from tests.regressions.mutation import Mutation

MUTATIONS = (
    Mutation(
        name="client-uses-a-connection-that-has-ended",
        puts_back="A request fails because the service has closed a connection that waited.",
        stands_for=(),
        find="if connection.sock is not None and _has_ended(connection):",
        replace="if connection.sock is None:",
        caught_by="test_a_connection_that_the_service_has_closed_is_opened_again",
    ),
    Mutation(
        name="command-line-loads-pydantic",
        puts_back="Each command loads pydantic to read its options, which takes longer than all the rest.",
        stands_for=(),
        find="if convert is not None: parameter._runtime_param",
        replace="if convert is None:\n    parameter._runtime_param",
        caught_by="test_a_command_that_asks_the_service_loads_no_more",
    ),
    Mutation(
        name="client-repeats-what-has-no-key",
        puts_back="A creation is sent again after a transient failure, and has a second effect.",
        stands_for=(),
        find='return self.method == "GET" or self.idempotency_key is not None',
        replace="return True",
        caught_by="test_what_has_no_key_is_never_repeated",
    ),
    Mutation(
        name="client-makes-a-key-for-each-attempt",
        puts_back="A submission that is repeated has another idempotency key, and is submitted twice.",
        stands_for=(),
        find='sent["idempotency-key"] = self.idempotency_key',
        replace='sent["idempotency-key"] = new_key()',
        caught_by="test_a_submission_is_repeated_under_one_key",
    ),
    Mutation(
        name="client-ignores-retry-after",
        puts_back="A service that asks for a pause is asked again at once.",
        stands_for=(),
        find="return (retry_after or 0) + random.uniform(0, ceiling)",
        replace="return random.uniform(0, ceiling)",
        caught_by="test_the_service_says_how_long_to_wait",
    ),
    Mutation(
        name="client-cuts-digits",
        puts_back="A payload's number loses digits on its way to the agent.",
        stands_for=(),
        find="return plain if repr(plain) == text else ExactFloat(text)",
        replace="return plain",
        caught_by="test_the_client_keeps_the_digits_of_numbers",
    ),
    Mutation(
        name="shell-sends-a-token-elsewhere",
        puts_back="The token of one service is sent to another one that DISPATCHER_URL names.",
        stands_for=(),
        find="token=token or (contexts.token(same) if same else None)",
        replace='token=token or contexts.token(contexts.current or "")',
        caught_by="test_the_environment_goes_before_the_context_and_an_option_before_both",
    ),
    Mutation(
        name="shell-obeys-an-agent",
        puts_back="An agent's error message moves the operator's terminal.",
        stands_for=(),
        find="return _UNSAFE.sub(escape, text)",
        replace="return text",
        caught_by="test_what_a_terminal_would_obey_is_escaped",
    ),
    Mutation(
        name="shell-sends-to-many-unasked",
        puts_back="A script with a wrong selector restarts the whole fleet.",
        stands_for=(),
        find='raise usage(f"{question} Nobody can answer here.", "repeat it with --yes")',
        replace="return",
        caught_by="test_many_need_a_yes",
    ),
)
