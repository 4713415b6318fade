"""Every function as it would be deployed: its environment, its permissions, its timeout."""

import re
from pathlib import Path
from typing import Any

import pytest

from dispatcher.access import oidc
from dispatcher.platform import deployment, lambda_api, releases
from dispatcher.platform.database import CONNECT_SECONDS
from dispatcher.webhooks import sending, webhook_queue, webhook_run
from dispatcher.webhooks.invocation import BATCH_WAIT_SECONDS, TEST_WAIT_SECONDS
from tests.template.conftest import Template

# The caller, and after how many seconds it stops waiting.
HTTP_API, SOCKET_ROUTE, SOCKET_AUTHORIZER, ASYNCHRONOUS, SCHEDULE = 30, 29, 10, 900, 60
CALLERS = {
    "CommandsFunction": HTTP_API,
    "SessionsFunction": HTTP_API,
    "AgentsFunction": HTTP_API,
    "EventsFunction": HTTP_API,
    "OperatorsFunction": HTTP_API,
    "PagesFunction": HTTP_API,
    "WebhooksFunction": HTTP_API,
    "DeliverWebhooksFunction": ASYNCHRONOUS,
    "WebhookFunction": BATCH_WAIT_SECONDS,
    "AuthorizeAgentFunction": SOCKET_AUTHORIZER,
    "ConnectFunction": 10,  # an agent waits so long for its handshake
    "MessageFunction": SOCKET_ROUTE,
    "HeartbeatFunction": SOCKET_ROUTE,
    "DisconnectFunction": SOCKET_ROUTE,
    "LateReportsFunction": ASYNCHRONOUS,
    "FlushFunction": ASYNCHRONOUS,
    "SweeperFunction": SCHEDULE,
    "AuditFunction": 300,
    "PublisherFunction": SCHEDULE,
    "ReleaseCheckFunction": 30,  # the gate waits so long for its answer
    "ReleaseGateFunction": 3600,  # CodeDeploy waits so long
    "MigrateFunction": 310,  # deploy waits so long for its answer
    "DeployFunction": 420,  # the custom resource's ServiceTimeout
}
POST, LOOK, CLOSE = (f"execute-api:ManageConnections {method}" for method in ("POST", "GET", "DELETE"))
DATABASE = {"rds-db:connect own database", "secretsmanager:GetSecretValue database secret"}
FRONT_DOOR, TOKENS = "secretsmanager:GetSecretValue OriginSecret", "secretsmanager:GetSecretValue TokenSecret"
FLUSH, FAILED = "lambda:InvokeFunction FlushFunctionAliaslive", "sqs:SendMessage FailedEvents"
WEBHOOKS = {"secretsmanager:GetSecretValue WebhookKey", "lambda:InvokeFunction WebhookFunctionAliaslive"}
LATER = "sqs:SendMessage LateReports"
RIGHTS = {
    "CommandsFunction": {*DATABASE, FRONT_DOOR, TOKENS, POST, FLUSH},
    "SessionsFunction": {*DATABASE, FRONT_DOOR, TOKENS, POST},
    "AgentsFunction": {*DATABASE, FRONT_DOOR, TOKENS, CLOSE},
    "EventsFunction": {*DATABASE, FRONT_DOOR, TOKENS},
    "OperatorsFunction": {*DATABASE, FRONT_DOOR, TOKENS},
    "PagesFunction": {*DATABASE, FRONT_DOOR},
    "WebhooksFunction": {
        *DATABASE,
        FRONT_DOOR,
        TOKENS,
        *WEBHOOKS,
        "lambda:InvokeFunction DeliverWebhooksFunctionAliaslive",
    },
    "DeliverWebhooksFunction": {*DATABASE, *WEBHOOKS, FAILED},
    "WebhookFunction": set[str](),
    "AuthorizeAgentFunction": {*DATABASE, FRONT_DOOR},
    "ConnectFunction": {*DATABASE, CLOSE, FLUSH},
    "FlushFunction": {*DATABASE, POST, LOOK, FAILED},
    "MessageFunction": {*DATABASE, POST, CLOSE, LATER},
    "HeartbeatFunction": {*DATABASE, POST, CLOSE},
    "LateReportsFunction": {*DATABASE, POST, CLOSE, FAILED},
    "DisconnectFunction": DATABASE,
    "SweeperFunction": {*DATABASE, POST, CLOSE, FLUSH, FAILED, "lambda:InvokeFunction itself"},
    "AuditFunction": {*DATABASE, FAILED},
    "PublisherFunction": {*DATABASE, FAILED, "events:PutEvents EventBusName"},
    "ReleaseCheckFunction": {*DATABASE, LOOK},
    "ReleaseGateFunction": {
        "lambda:InvokeFunction ReleaseCheckFunction",
        "codedeploy:PutLifecycleEventHookExecutionStatus deploymentgroup",
    },
    "MigrateFunction": {
        "secretsmanager:GetSecretValue database secret",
        "secretsmanager:GetSecretValue owner's secret",
        "secretsmanager:GetSecretValue AdminSecret",
    },
    "DeployFunction": {"lambda:InvokeFunction MigrateFunction"},
}
# What SAM adds to every role.  Each is written by AWS and has a * in it, for this reason.
MANAGED = {
    "AWSLambdaBasicExecutionRole": "writes logs; before a function runs there is no log stream to name",
    "AWSBackupServiceRolePolicyForBackup": "AWS Backup reads what a selection names",
    "AWSCodeDeployRoleForLambda": "CodeDeploy invokes hooks by their name, and moves aliases",
    "AWSLambdaSQSQueueExecutionRole": "lets Lambda read the queue of a function's event",
    "AWSLambdaVPCAccessExecutionRole": "Lambda creates network interfaces, whose names are not known before",
}
# Roles of stacks/pipeline.yaml, which is deployed by hand: what a deployment makes has no name before it exists.
OF_THE_PIPELINE = {"PipelineRole", "CloudFormationRole"}


def named(resource: Any) -> str:
    """Return a short name for a policy's resource."""
    text = str(resource)
    for method in ("POST", "GET", "DELETE"):
        if f"/live/{method}/@connections/*" in text:
            return method
    for sign, word in (
        ("Outputs.LoginArn", "own database"),
        ("Outputs.ClusterLoginArn", "own database"),
        ("Outputs.OwnerSecretArn", "owner's secret"),
        ("DatabaseSecretArn", "database secret"),
        ("secret:none", "nothing"),
        (":function:${AWS::StackName}-sweeper:live", "itself"),
        (":deploymentgroup:${AWS::StackName}-*/*", "deploymentgroup"),
        ("event-bus/${EventBusName}", "EventBusName"),
    ):
        if sign in text:
            return word
    words: list[str] = re.findall(r"\w+", text)
    return next(word for word in words if word not in {"Ref", "Fn", "GetAtt", "Sub"})


def named_policy(arn: Any) -> str:
    """Return the name at the end of a policy's ARN."""
    return str(arn).strip("'{}").rpartition("/")[2]


@pytest.mark.parametrize("function", RIGHTS)
def test_each_role_allows_only_what_its_function_does(template: Template, function: str) -> None:
    """Each function has one role; posting, reading and closing are separate actions."""
    allowed = {
        f"{action} {named(resource)}"
        for statement in template.statements(function)
        for action in statement.actions
        for resource in statement.resources
    }

    # A condition on an action and one on its resource hold together: mixed pairs of their branches do not exist.
    impossible = {
        "rds-db:connect database secret",
        "rds-db:connect nothing",
        "secretsmanager:GetSecretValue own database",
        "secretsmanager:GetSecretValue nothing",
    }
    assert allowed - impossible == RIGHTS[function]


def test_every_function_is_in_the_tables_of_this_file(template: Template) -> None:
    """A new function must be added, with its permissions and its timeout."""
    assert set(template.functions) == set(RIGHTS) == set(CALLERS)


def test_no_role_has_a_wildcard_without_a_reason(template: Template, stacks: dict[str, Template]) -> None:
    """Allowed are names that are not known before: the connections of this stage, the deployments of this stack's functions.

    AWS's own policies have wildcards too.
    """
    allowed = r"/live/(?:POST|GET|DELETE)/@connections/\*|deploymentgroup:\$\{AWS::StackName\}-\*/\*"
    for each in (template, *stacks.values()):
        for name, role in each.of_type("AWS::IAM::Role").items():
            managed = {named_policy(arn) for arn in role.get("ManagedPolicyArns", [])}
            assert managed <= set(MANAGED), name
            for policy in role.get("Policies", []):
                text = re.sub(allowed, "", str(policy["PolicyDocument"]["Statement"]))
                assert "*" not in text or name in OF_THE_PIPELINE, name


@pytest.mark.parametrize(("function", "patience"), CALLERS.items())
def test_a_function_ends_before_its_caller_stops_waiting(template: Template, function: str, patience: int) -> None:
    """Otherwise the caller gets no answer, and the function works in vain."""
    assert template.functions[function]["Timeout"] < patience


def test_the_handshake_ends_before_the_agent_stops_waiting(template: Template) -> None:
    """Both agents wait 10 s: if the database or Lambda's API does not answer, there is time left to report it."""
    assert template.functions["AuthorizeAgentFunction"]["Timeout"] > CONNECT_SECONDS
    handing_over = lambda_api.CONNECT_SECONDS + lambda_api.READ_SECONDS
    assert template.functions["ConnectFunction"]["Timeout"] > CONNECT_SECONDS + handing_over


def test_the_gate_answers_codedeploy_whatever_it_has_to_wait_for(template: Template) -> None:
    """It wakes the check, asks twice and tells CodeDeploy twice; killed in between, it would hold the release for an hour."""
    waking = sum(deployment.WAKING_PAUSES)
    asking = releases.TRIES * (releases.CONNECT_SECONDS + releases.CHECK_SECONDS)
    telling = releases.TRIES * (releases.CONNECT_SECONDS + releases.TELL_SECONDS)

    assert waking + asking + telling < template.functions["ReleaseGateFunction"]["Timeout"]


def test_a_log_in_at_an_issuer_that_hardly_answers_ends_before_its_function(template: Template) -> None:
    """Its document, the exchange of the code, its keys; the rest is for the database."""
    assert template.functions["OperatorsFunction"]["Timeout"] > 3 * oidc.FETCH_SECONDS + CONNECT_SECONDS


def test_a_sender_ends_before_its_lease_and_before_its_caller(template: Template) -> None:
    """A lease that ended earlier would let a second sender begin; a caller that waits less long would not learn the outcome."""
    sender = template.functions["WebhookFunction"]["Timeout"]
    caller = template.functions["DeliverWebhooksFunction"]["Timeout"]

    assert sending.BATCH_SECONDS + sending.TOTAL_SECONDS < sender < BATCH_WAIT_SECONDS < webhook_queue.LEASE_SECONDS
    test_call = 2 * oidc.FETCH_SECONDS + CONNECT_SECONDS + lambda_api.CONNECT_SECONDS + TEST_WAIT_SECONDS
    assert sending.TOTAL_SECONDS < TEST_WAIT_SECONDS
    assert test_call < template.functions["WebhooksFunction"]["Timeout"]
    assert caller - webhook_run.RESERVE_SECONDS >= SCHEDULE  # so that one run begins batches until the next one does


def test_the_schema_is_migrated_before_any_new_code_serves(template: Template) -> None:
    """Every function waits for the migration, except those that migrate."""
    waiting = {name for name in template.functions if template.resources[name].get("DependsOn") == "Migration"}
    of_deployments = {"MigrateFunction", "DeployFunction", "ReleaseCheckFunction", "ReleaseGateFunction"}
    assert set(template.functions) - waiting == of_deployments
    # Otherwise the check of the release before could pass the new one.
    assert template.resources["Migration"]["DependsOn"] == "ReleaseCheckFunction"
    migration = template.resources["Migration"]["Properties"]
    layers = template.of_type("AWS::Lambda::LayerVersion")
    assert migration["Layer"]["Ref"] in layers  # another layer is another migration
    assert migration["ServiceToken"] == {"Fn::GetAtt": ["DeployFunction", "Arn"]}
    assert migration["ServiceTimeout"] > template.functions["DeployFunction"]["Timeout"]


def test_every_function_gets_the_settings_that_its_code_reads(template: Template, root: Path) -> None:
    """So a missing variable is found here and not in production."""
    everywhere = {"DATABASE_SECRET_ARN", "DATABASE_HOST", "DATABASE_ROLE", "CONNECTIONS_URL", "ORIGIN_SECRET_ARN"}
    operators = {"TOKEN_SECRET_ARN", "OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_ROLE_CLAIM"}
    webhooks = {"WEBHOOK_KEY_ARN", "WEBHOOK_FUNCTION"}
    special = {
        "ConnectFunction": {"FLUSH_FUNCTION"},
        "SweeperFunction": {"FLUSH_FUNCTION", "RETENTION_DAYS"},
        "CommandsFunction": operators,
        "SessionsFunction": operators,
        "AgentsFunction": operators,
        "OperatorsFunction": operators | {"OIDC_CLIENT_ID", "OIDC_SCOPE"},
        "WebhooksFunction": operators | webhooks | {"DELIVER_WEBHOOKS_FUNCTION"},
        "DeliverWebhooksFunction": webhooks,
        "EventsFunction": operators | {"EVENT_WAITERS"},
        "PublisherFunction": {"EVENT_BUS_NAME"},
        "MigrateFunction": {"ADMIN_SECRET_ARN"},
        "ReleaseGateFunction": {"RELEASE_CHECK_FUNCTION"},
    }
    for function in template.functions:
        assert everywhere | special.get(function, set()) <= set(template.environment(function)), function
    told = {name for function in template.functions for name in template.environment(function)}
    asked = {
        name
        for path in (root / "layers/dispatcher/dispatcher").rglob("*.py")
        for name in re.findall(r'(?:environ\.get\(|_required\(|_secret\()\s*"([A-Z_]+)"', path.read_text())
    }
    only_without_aws = {
        "DATABASE_URL",
        "TOKEN_SECRET",
        "ADMIN_PASSWORD",
        "AWS_ENDPOINT_URL",
        "WEBHOOK_KEY",
        "WEBHOOKS_PRIVATE",
    }
    of_lambda = {"_X_AMZN_TRACE_ID", "AWS_LAMBDA_INITIALIZATION_TYPE"}
    assert asked - told == only_without_aws | of_lambda


def test_no_function_has_a_secret_in_its_environment(template: Template) -> None:
    """It has only the secret's ARN: permission to read a function's configuration gives no access to secrets."""
    for function in template.functions:
        assert "resolve:secretsmanager" not in str(template.environment(function))


def test_every_function_runs_on_the_platform_of_its_layer(template: Template) -> None:
    """arm64 and one version of Python; without tracing, and with limited logs."""
    for name, function in template.functions.items():
        assert (function["Architectures"], function["Runtime"]) == (["arm64"], "python3.13"), name
        # A trace that no library annotates costs money and answers nothing; the correlation id connects what belongs together.
        assert "TracingConfig" not in function, name
        logging = function["LoggingConfig"]
        assert (logging["LogGroup"], logging["LogFormat"]) == ({"Ref": "Log"}, "JSON"), name
        assert logging["SystemLogLevel"]["Fn::If"] == ["IsDebugging", "DEBUG", "WARN"], name
    for log in template.of_type("AWS::Logs::LogGroup").values():
        assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_only_what_calls_foreign_addresses_is_outside_the_network(template: Template) -> None:
    """It calls addresses that may have no IPv6; every other function reaches the database."""
    outside = {
        name for name, function in template.functions.items() if function["VpcConfig"] == {"Ref": "AWS::NoValue"}
    }
    assert outside == {"DeployFunction", "ReleaseGateFunction", "WebhookFunction"}
    own = template.functions["FlushFunction"]["VpcConfig"]["Fn::If"][1]
    assert own["Ipv6AllowedForDualStack"] is True


def test_failed_asynchronous_and_scheduled_events_go_to_a_queue(template: Template) -> None:
    """The asynchronous functions and the schedules."""
    failed = {"Fn::GetAtt": ["FailedEvents", "Arn"]}
    invokes = template.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert {invoke["FunctionName"]["Ref"] for invoke in invokes} == {
        "FlushFunction",
        "SweeperFunction",
        "AuditFunction",
        "DeliverWebhooksFunction",
        "PublisherFunction",
    }
    assert all(invoke["DestinationConfig"]["OnFailure"]["Destination"] == failed for invoke in invokes)
    # Without a limit Lambda keeps throttled events for six hours: the sweeps of an outage would all begin when it ends.
    assert all(invoke["MaximumEventAgeInSeconds"] <= 120 for invoke in invokes)
    schedules = template.of_type("AWS::Scheduler::Schedule").values()
    assert len(schedules) == 4
    assert all(schedule["Target"]["DeadLetterConfig"]["Arn"] == failed for schedule in schedules)


def test_late_reports_wait_in_order_until_they_are_settled(template: Template) -> None:
    """A message stays invisible for six times the function's timeout, as AWS advises; failures are told one by one."""
    queue = template.resources["LateReports"]["Properties"]
    [source] = template.of_type("AWS::Lambda::EventSourceMapping").values()

    assert queue["FifoQueue"] is True
    assert queue["VisibilityTimeout"] >= 6 * template.functions["LateReportsFunction"]["Timeout"]
    assert source["FunctionName"] == {"Ref": "LateReportsFunctionAliaslive"}
    assert source["EventSourceArn"] == {"Fn::GetAtt": ["LateReports", "Arn"]}
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_each_caller_of_a_function_has_permission_for_these_apis_only(template: Template) -> None:
    """Without the permission every call is a 500, and only the gateway's log has the reason."""
    permissions = template.of_type("AWS::Lambda::Permission").values()
    permitted = {permission["FunctionName"]["Ref"].removesuffix("Aliaslive") for permission in permissions}

    by_queue_or_schedule = {
        "LateReportsFunction",
        "SweeperFunction",
        "AuditFunction",
        "DeliverWebhooksFunction",
        "PublisherFunction",
    }
    of_deployments = {"MigrateFunction", "DeployFunction", "ReleaseCheckFunction", "ReleaseGateFunction"}
    by_a_function = {"FlushFunction", "WebhookFunction"}
    behind_no_api = {*by_a_function, *of_deployments, *by_queue_or_schedule}
    assert permitted == set(template.functions) - behind_no_api
    for permission in permissions:
        assert permission["Principal"] == "apigateway.amazonaws.com"
        assert re.search(r"execute-api:.*(HttpApi|WebSocketApi)", str(permission["SourceArn"]))
