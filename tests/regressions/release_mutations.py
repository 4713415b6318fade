"""Mutations of releases, migrations under load, correlation and sharded sweeps."""

from tests.regressions.mutation import Mutation

MUTATIONS = (
    Mutation(
        name="settings-without-a-release",
        puts_back="A changed setting is deployed, and no function gets it.",
        stands_for=(),
        find='changed = [name for name in ("Layer", "Settings") if before.get(name) != properties.get(name)]',
        replace="changed = list[str]()",
        caught_by="test_new_code_under_the_name_of_the_last_release_fails_the_deployment",
    ),
    Mutation(
        name="route-past-the-alias",
        puts_back="An API calls the newest code, whatever CodeDeploy decided.",
        stands_for=(),
        find="heartbeat: {FunctionArn: !Ref HeartbeatFunction.Alias}",
        replace="heartbeat: {FunctionArn: !GetAtt HeartbeatFunction.Arn}",
        caught_by="test_nobody_calls_a_function_past_its_alias",
    ),
    Mutation(
        name="failed-check-is-a-success",
        puts_back="A release that lacks its schema gets traffic.",
        stands_for=(),
        find='status = "Succeeded" if refused is None else "Failed"',
        replace='status = "Succeeded"',
        caught_by="test_codedeploy_is_told_what_the_check_found",
    ),
    Mutation(
        name="invalid-index-stays",
        puts_back="An index that a failed try left invalid is never used.",
        stands_for=(),
        find="_drop_invalid(conn, index[2])",
        replace="pass",
        caught_by="test_an_invalid_index_of_a_failed_try_is_built_again",
    ),
    Mutation(
        name="migration-waits-for-its-lock",
        puts_back="Submissions queue behind a migration that waits for a lock.",
        stands_for=(),
        find='conn.execute(sql.SQL("set lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))',
        replace='conn.execute("set lock_timeout = 0")',
        caught_by="test_a_migration_that_gets_no_lock_gives_way_and_tries_again",
    ),
    Mutation(
        name="shards-overlap",
        puts_back="Every shard looks at every agent.",
        stands_for=(),
        find="(hashtextextended(a.agent_id, 0) & 1073741823) %% %(of)s = %(number)s",
        replace="%(number)s < %(of)s",
        caught_by="test_every_agent_is_in_exactly_one_shard",
    ),
    Mutation(
        name="trace-ends-at-flush",
        puts_back="The log lines of flush do not belong to the request that invoked it.",
        stands_for=(),
        find='correlation.resume(event.get("correlationId")) gateway, deadline = ApiGateway.from_environment()',
        replace="correlation.resume(None)\ngateway, deadline = ApiGateway.from_environment()",
        caught_by="test_flush_goes_on_with_the_trace_of_who_invoked_it",
    ),
    Mutation(
        name="events-without-a-trace",
        puts_back="An event does not name the request that caused it.",
        stands_for=(),
        find='correlation_id=row["correlation_id"]',
        replace="correlation_id=None",
        caught_by="test_whoever_is_told_of_an_event_gets_the_trace_of_its_command",
    ),
    Mutation(
        name="disabled-webhooks-ring-once",
        puts_back="A webhook that stays disabled hides the next one from the alarm.",
        stands_for=(),
        find="disabled_cause <> 'operator' and disabled_at > now() - interval '2 minutes'",
        replace="disabled_cause <> 'operator'",
        caught_by="test_410_disables_a_webhook_at_once",
    ),
)
