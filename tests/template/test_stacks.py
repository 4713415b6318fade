"""The APIs, the network, the database, the edge and the alarms."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dispatcher.commands import findings, latencies
from dispatcher.commands.loss_check import CHECKS, FIGURES
from dispatcher.commands.sweep import Swept
from dispatcher.webhooks.webhook_queue import Figures
from dispatcher.webhooks.webhook_run import Ran
from local.sam_template.intrinsics import Resolver, read
from tests.template.conftest import Template

ROOT = Path(__file__).resolve().parents[2]


def flat(value: Any) -> str:
    """Return a value as text, to search in it."""
    return json.dumps(value, default=str)


def conditions(**parameters: str) -> dict[str, bool]:
    """Return which of the template's conditions hold."""
    template = read(ROOT / "template.yaml")
    resolver = Resolver(template, parameters, region="eu-central-1", account="123456789012")
    return {name: resolver.condition(name) for name in template["Conditions"]}


def test_a_deployment_without_parameters_has_a_database_of_its_own() -> None:
    """It has nothing with an additional fixed cost."""
    assert {name for name, holds in conditions().items() if holds} == {"OwnDatabase", "HasDirectDatabase"}


def refused(**parameters: str) -> list[str]:
    """Return what CloudFormation says about a combination of parameters, before it makes anything."""
    template = read(ROOT / "template.yaml")
    values = {name: parameters.get(name, each.get("Default", "")) for name, each in template["Parameters"].items()}

    def holds(condition: dict[str, Any]) -> bool:
        match condition:
            case {"Fn::Not": [each]}:
                return not holds(each)
            case {"Fn::Equals": [{"Ref": name}, value]}:
                return bool(values[name] == value)
            case {"Fn::EachMemberEquals": [{"Ref": name}, value]}:
                return all(member == value for member in str(values[name]).split(","))
            case _:
                raise ValueError(condition)

    return [
        check["AssertDescription"]
        for rule in template["Rules"].values()
        if holds(rule["RuleCondition"])
        for check in rule["Assertions"]
        if not holds(check["Assert"])
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, []),
        ({"DomainName": "a.example", "CertificateArn": "c", "FrontDoor": "true"}, []),
        ({"DomainName": "a.example", "FrontDoor": "true"}, ["DomainName needs a CertificateArn."]),
        (
            {"DomainName": "a.example", "CertificateArn": "c"},
            ["DomainName is the name of the edge, and needs FrontDoor=true."],
        ),
        ({"WebAclArn": "w"}, ["WebAclArn protects the edge, and needs FrontDoor=true."]),
        ({"SubnetIds": "s-1,s-2"}, ["SubnetIds need SecurityGroupIds."]),
        ({"SubnetIds": "s-1,s-2", "SecurityGroupIds": "g-1"}, []),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(given: dict[str, str], says: list[str]) -> None:
    """Before the deployment, and not after twenty minutes, or without any effect."""
    assert refused(**given) == says


def test_an_existing_database_replaces_the_network_too() -> None:
    """With or without subnets; an emulator has no network."""
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"
    assert not conditions(DatabaseSecretArn=arn)["OwnDatabase"]
    assert conditions(DatabaseSecretArn=arn, SubnetIds="subnet-1,subnet-2")["HasSubnets"]
    assert not conditions(ConnectionsUrl="http://127.0.0.1:4566")["OwnDatabase"]


def test_both_apis_are_throttled_and_answer_over_ipv6(template: Template) -> None:
    """The functions' way to @connections is IPv6: an API without it could not be reached, and every post would hang."""
    stages = template.of_type("AWS::ApiGatewayV2::Stage").values()
    assert len(stages) == 2
    for stage in stages:
        assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] == {"Ref": "RequestRate"}
        assert stage["DefaultRouteSettings"]["ThrottlingBurstLimit"] == {"Ref": "RequestBurst"}
    assert [api["IpAddressType"] for api in template.of_type("AWS::ApiGatewayV2::Api").values()] == ["dualstack"] * 2


def test_the_access_log_is_one_line_of_json_without_request_data() -> None:
    """No query, no header, no body: tokens and keys travel there."""
    resources = read(ROOT / "template.yaml")["Resources"]
    http = resources["HttpStage"]["Properties"]["AccessLogSettings"]["Format"]
    sockets = resources["WebSocketApi"]["Properties"]["AccessLogSettings"]["Fn::If"][1]["Format"]

    for written in (http, sockets):
        assert set(json.loads(written)) >= {"requestId", "route", "status"}
        assert not re.search(r"\$context\.(path|.*header|.*[Qq]uery)", written)


def test_only_the_agents_websocket_has_an_authorizer(template: Template) -> None:
    """The functions of the HTTP API authenticate callers themselves: an authorizer would double the invocations."""
    routes = template.of_type("AWS::ApiGatewayV2::Route").values()
    authorized = {route["RouteKey"] for route in routes if route.get("AuthorizationType", "NONE") != "NONE"}
    assert authorized == {"$connect"}


def test_nothing_reaches_the_network_and_only_the_functions_reach_the_database(stacks: dict[str, Template]) -> None:
    """There is no inbound gateway, no public address, and no rule for all addresses."""
    network = stacks["database"]
    assert not network.of_type("AWS::EC2::InternetGateway")
    assert not network.of_type("AWS::EC2::NatGateway")
    assert all("MapPublicIpOnLaunch" not in subnet for subnet in network.of_type("AWS::EC2::Subnet").values())
    assert all("SecurityGroupIngress" not in group for group in network.of_type("AWS::EC2::SecurityGroup").values())
    ingress = network.of_type("AWS::EC2::SecurityGroupIngress")
    assert {name: rule["SourceSecurityGroupId"]["Ref"] for name, rule in ingress.items()} == {
        "DatabaseFromFunctions": "FunctionsGroup",
        "DatabaseFromProxy": "DatabaseGroup",
    }
    assert all((rule["FromPort"], rule["ToPort"]) == (5432, 5432) for rule in ingress.values())


def test_the_functions_have_a_way_out_without_a_fixed_cost(stacks: dict[str, Template]) -> None:
    """An egress-only gateway, a route to it from both subnets, and the port of HTTPS."""
    network = stacks["database"]
    [route] = network.of_type("AWS::EC2::Route").values()
    assert (route["DestinationIpv6CidrBlock"], route["EgressOnlyInternetGatewayId"]) == ("::/0", {"Ref": "WayOut"})
    routed = {each["SubnetId"]["Ref"] for each in network.of_type("AWS::EC2::SubnetRouteTableAssociation").values()}
    subnets = network.of_type("AWS::EC2::Subnet")
    assert routed == set(subnets)
    assert all(subnet["AssignIpv6AddressOnCreation"] is True for subnet in subnets.values())
    [out] = network.of_type("AWS::EC2::SecurityGroup")["FunctionsGroup"]["SecurityGroupEgress"]
    assert (out["FromPort"], out["ToPort"], out["CidrIpv6"]) == (443, 443, "::/0")


def test_the_database_outlives_its_stack_and_is_reached_only_with_tls(stacks: dict[str, Template]) -> None:
    """Encrypted, backed up, its owner's password kept and rotated by RDS."""
    cluster = stacks["database"].resources["Cluster"]
    assert (cluster["DeletionPolicy"], cluster["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    properties = cluster["Properties"]
    assert properties["DeleteAutomatedBackups"] is False
    assert properties["StorageEncrypted"] is True
    assert properties["EnableIAMDatabaseAuthentication"] is True
    assert properties["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in properties
    parameters = stacks["database"].resources["Parameters"]["Properties"]["Parameters"]
    assert parameters["rds.force_ssl"] == "1"
    for instance in stacks["database"].of_type("AWS::RDS::DBInstance").values():
        assert instance["PubliclyAccessible"] is False
    assert stacks["database"].resources["DatabaseProxy"]["Properties"]["RequireTLS"] is True


def test_a_copy_of_the_backup_leaves_the_region_if_it_is_wanted(
    template: Template, stacks: dict[str, Template]
) -> None:
    """Each day, for as long as the parameter says; a vault outlives its stack."""
    assert template.resources["Backup"]["Condition"] == "HasBackupCopy"
    [rule] = stacks["backup"].resources["Plan"]["Properties"]["BackupPlan"]["BackupPlanRule"]
    [copied] = rule["CopyActions"]
    assert copied["DestinationBackupVaultArn"] == {"Ref": "CopyVaultArn"}
    assert stacks["backup"].resources["Vault"]["DeletionPolicy"] == "Retain"
    told = stacks["backup"].resources["Vault"]["Properties"]["Notifications"]
    # Otherwise the copies could end without a word.
    assert told["BackupVaultEvents"] == ["BACKUP_JOB_COMPLETED", "COPY_JOB_FAILED"]
    filtered = stacks["backup"].resources["FailuresByEmail"]["Properties"]["FilterPolicy"]
    assert filtered == {"State": [{"anything-but": "COMPLETED"}]}
    assert stacks["backup"].resources["BackupMayPublish"]["Properties"]["Topics"] == [told["SNSTopicArn"]]
    vault = "arn:aws:backup:eu-west-1:123456789012:backup-vault:copies"
    assert not conditions()["HasBackupCopy"]
    assert conditions(BackupCopyVaultArn=vault)["HasBackupCopy"]
    assert not conditions(BackupCopyVaultArn=vault, ConnectionsUrl="http://127.0.0.1:4566")["HasBackupCopy"]
    # In the region of the copies, where the stack goes on: a secret has no replica in its own region.
    assert not conditions(BackupCopyVaultArn=vault.replace("eu-west-1", "eu-central-1"))["HasBackupCopy"]


def test_the_key_of_webhooks_is_where_the_copies_of_the_database_are(template: Template) -> None:
    """The secrets of webhooks are computed from it: without it every receiver would refuse the other region."""
    replicas = template.resources["WebhookKey"]["Properties"]["ReplicaRegions"]["Fn::If"]

    assert replicas[0] == "HasBackupCopy"
    assert replicas[1] == [{"Region": {"Fn::Select": [3, {"Fn::Split": [":", {"Ref": "BackupCopyVaultArn"}]}]}}]


def test_health_has_a_low_limit_of_its_own(template: Template) -> None:
    """It is public and asks the database, also with HEAD; the limits of the API are for operators and agents."""
    stage = template.resources["HttpStage"]
    routes = [template.resources[name]["Properties"]["RouteKey"] for name in stage["DependsOn"]]

    assert routes == ["GET /healthz", "HEAD /healthz"]
    assert list(stage["Properties"]["RouteSettings"]) == routes
    assert all(limits["ThrottlingRateLimit"] <= 10 for limits in stage["Properties"]["RouteSettings"].values())


def test_a_database_of_a_snapshot_takes_its_names_from_the_snapshot(stacks: dict[str, Template]) -> None:
    """CloudFormation refuses a snapshot together with a name or an owner."""
    cluster = stacks["database"].resources["Cluster"]["Properties"]

    for name in ("DatabaseName", "MasterUsername"):
        assert cluster[name]["Fn::If"][:2] == ["HasSnapshot", {"Ref": "AWS::NoValue"}]
    assert cluster["SnapshotIdentifier"]["Fn::If"] == ["HasSnapshot", {"Ref": "Snapshot"}, {"Ref": "AWS::NoValue"}]


@pytest.mark.parametrize("policy", ["stack", "database"])
def test_a_stack_policy_protects_what_holds_data(template: Template, stacks: dict[str, Template], policy: str) -> None:
    """Every resource that it names exists; a policy with a wrong name would protect nothing."""
    written = json.loads((ROOT / f"stacks/policies/{policy}.json").read_text())
    resources = template.resources if policy == "stack" else stacks["database"].resources
    named = [name.removeprefix("LogicalResourceId/") for name in written["Statement"][1]["Resource"]]

    assert set(named) <= set(resources)
    assert written["Statement"][1]["Action"] == ["Update:Delete", "Update:Replace"]
    assert {"stack": "Database", "database": "Cluster"}[policy] in named


@pytest.mark.parametrize(
    ("version", "fits"), [("17", True), ("18", True), ("17.7", True), ("14", False), ("17.", False)]
)
def test_the_database_has_a_major_version_and_perhaps_a_minor_one(version: str, fits: bool) -> None:  # noqa: FBT001
    """AWS withdraws minor versions, so the default is a major one; the family of its parameters has the major one."""
    parameter = read(ROOT / "template.yaml")["Parameters"]["DatabaseEngineVersion"]

    assert bool(re.fullmatch(parameter["AllowedPattern"], version)) is fits
    assert re.fullmatch(parameter["AllowedPattern"], parameter["Default"])


def test_the_edge_serves_both_apis_under_one_host(stacks: dict[str, Template]) -> None:
    """The connect path leads to the WebSocket API; only the page's files are cached; origins get the secret, over HTTPS."""
    settings = stacks["front_door"].resources["Distribution"]["Properties"]["DistributionConfig"]
    [sockets, files] = settings["CacheBehaviors"]
    assert (sockets["PathPattern"], sockets["TargetOriginId"]) == ("*/api/v1/agents/connect", "sockets")
    for behaviour in (settings["DefaultCacheBehavior"], sockets):
        assert behaviour["ViewerProtocolPolicy"] == "https-only"
        assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
        assert "POST" in behaviour["AllowedMethods"]
    # Their addresses change with their contents.
    assert (files["PathPattern"], files["TargetOriginId"]) == ("/console/static/*", "http")
    assert files["CachePolicyId"] == "658327ea-f89d-4fab-a63d-7e88639e58f6"
    uncached = {answer["ErrorCode"] for answer in settings["CustomErrorResponses"] if answer["ErrorCachingMinTTL"] == 0}
    assert uncached == {
        404,
        405,
        414,
        500,
        501,
        502,
        503,
        504,
    }  # CloudFront caches errors even if it caches nothing else
    for origin in settings["Origins"]:
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
        assert "resolve:secretsmanager" in flat(origin["OriginCustomHeaders"])


def alarms_of(stacks: dict[str, Template]) -> dict[str, dict[str, Any]]:
    """Return every alarm of the stacks, by name."""
    return {
        name: alarm
        for stack in ("monitoring", "release_alarms")
        for name, alarm in stacks[stack].of_type("AWS::CloudWatch::Alarm").items()
    }


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what an alarm watches: the metrics of its expression, or its one metric."""
    computed = [each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    return [each["Metric"] | {"Period": each["Period"], "Stat": each["Stat"]} for each in computed] or [alarm]


def test_every_function_has_its_alarms_and_every_alarm_notifies(
    template: Template, stacks: dict[str, Template]
) -> None:
    """Errors and throttles; a new function needs them too."""
    alarms = alarms_of(stacks)
    names = {
        name: function["FunctionName"]["Fn::Sub"].replace("${AWS::StackName}", "${Name}")
        for name, function in template.functions.items()
    }
    # Their failures are visible at the deployment.
    deployed = {"MigrateFunction", "DeployFunction", "ReleaseCheckFunction", "ReleaseGateFunction"}
    for metric in ("Errors", "Throttles"):
        watched = {
            each["Dimensions"][0]["Value"]["Fn::Sub"]
            for alarm in alarms.values()
            for each in metrics_of(alarm)
            if each["Namespace"] == "AWS/Lambda" and each["MetricName"] == metric
        }
        assert watched == {value for name, value in names.items() if name not in deployed}
    for alarm in alarms.values():
        assert alarm["AlarmActions"] in ([{"Ref": "Pages"}], [{"Ref": "Tickets"}])
        assert alarm.get("OKActions", alarm["AlarmActions"]) == alarm["AlarmActions"]


def test_the_alarms_and_the_dashboard_use_metrics_that_are_published(stacks: dict[str, Template]) -> None:
    """An alarm for a metric with a wrong name would never ring."""
    published = {*CHECKS, *FIGURES, *Swept.__dataclass_fields__, *latencies.METRICS, *findings.METRICS}
    published |= {*Figures.__dataclass_fields__, *Ran.__dataclass_fields__}
    monitoring = stacks["monitoring"]
    asked = {
        each["MetricName"]
        for alarm in monitoring.of_type("AWS::CloudWatch::Alarm").values()
        for each in metrics_of(alarm)
        if each["Namespace"] == "AgentCommandDispatcher"
    }
    body = json.loads(monitoring.resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    shown: set[str] = set()
    for widget in body["widgets"]:
        namespace = ""
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                namespace = metric[0] if metric[0] != "." else namespace
                if namespace == "AgentCommandDispatcher":
                    shown.add(metric[1])
    assert asked <= published
    assert shown <= published
    assert {*findings.METRICS, "newly_dead_commands", "newly_late_agents", "failed_passes"} <= asked


def test_each_alarm_names_a_page_of_the_runbook_that_exists(stacks: dict[str, Template]) -> None:
    """Who is woken reads the alarm's text first."""
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = {
        alarm["AlarmDescription"].rpartition("Runbook: docs/runbooks.md#")[2] for alarm in alarms_of(stacks).values()
    }

    assert named == anchors


def test_an_alarm_pages_only_for_what_cannot_wait(stacks: dict[str, Template]) -> None:
    """The table of the runbook has the same severities."""
    paging = {name for name, alarm in alarms_of(stacks).items() if alarm["AlarmActions"] == [{"Ref": "Pages"}]}
    table = re.findall(r"^\| `(\w+)` \| page \|", (ROOT / "docs/runbooks.md").read_text(), re.MULTILINE)

    assert sorted(table) == sorted(paging)


COMPUTED = {
    # Counts new messages; SQS says nothing of the first one in an idle queue, and it is seen only where it lies.
    "EventsFailed": "IF(FILL(sent, 0) > 0 OR DIFF(FILL(waiting, 0)) > 0, 1, 0)",
    "ReportsLate": "visible + hidden",
    "HttpServerErrors": "IF(errors > 10 OR (errors > 1 AND errors / requests > 0.01), 1, 0)",
}
"""Alarms of several metrics, each with its expression; above 0 is bad."""
NEW_ONES = {"EventsFailed"}
"""Alarms, beside those about `newly_...`, that count what happened in a period: one of it is enough for an alarm."""
RATES = {"Errors", "Throttles", "4xx", "ClientError", "ExecutionError", "IntegrationError", "failed_passes"}
"""What happened in a minute, for the whole service: 0 when it is well again."""
OF_THE_SERVICE = {"loaded", "lost_commands"}
"""For these only whether they are published at all."""
CONDITIONS = {
    "feed_lag_seconds",
    "sink_lag_seconds",
    "DatabaseConnections",
    "ACUUtilization",
}
"""Levels that have one cause for the whole service."""


def test_every_alarm_can_ring_twice(stacks: dict[str, Template]) -> None:
    """A level of many commands, agents or webhooks stays up for one of them and hides the next: those count new ones."""
    for name, alarm in alarms_of(stacks).items():
        metric: str = alarm.get("MetricName", "")
        counts_new_ones = metric.startswith("newly_") or name in NEW_ONES
        assert counts_new_ones or metric in RATES | OF_THE_SERVICE | CONDITIONS or name in COMPUTED, name
        if counts_new_ones:
            assert (alarm["Threshold"], alarm["EvaluationPeriods"]) == (0, 1), name
        if metric in OF_THE_SERVICE:
            assert alarm["Statistic"] == "SampleCount", name
        # The end of a count of new ones says nothing about those that rang.
        assert ("OKActions" in alarm) is not counts_new_ones, name


def test_an_alarm_of_several_metrics_computes_what_the_table_says(stacks: dict[str, Template]) -> None:
    """Each name in an expression is a metric, and all of them have one period."""
    computed = {name: alarm["Metrics"] for name, alarm in alarms_of(stacks).items() if "Metrics" in alarm}

    assert {name: metrics[0]["Expression"] for name, metrics in computed.items()} == COMPUTED
    for name, (expression, *metrics) in computed.items():
        assert {each["Id"] for each in metrics} == set(re.findall(r"[a-z]\w+", expression["Expression"])), name
        assert [each["ReturnData"] for each in metrics] == [False] * len(metrics), name
        assert len({each["MetricStat"]["Period"] for each in metrics}) == 1, name


def test_a_report_that_comes_back_again_and_again_is_seen(template: Template, stacks: dict[str, Template]) -> None:
    """SQS leaves messages that were received three times out of the age of the oldest: that alarm would never ring."""
    received = template.resources["LateReports"]["Properties"]["VisibilityTimeout"]
    watched = metrics_of(alarms_of(stacks)["ReportsLate"])

    assert 3 * received < 15 * 60
    assert {each["MetricName"] for each in watched} == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
    }


def test_two_stacks_fit_into_one_account(template: Template, stacks: dict[str, Template]) -> None:
    """Dev and prod, or two regions: no name is the same in both."""
    names = [schedule["Name"] for schedule in template.of_type("AWS::Scheduler::Schedule").values()]
    names += [function["FunctionName"] for function in template.functions.values()]
    assert all("${AWS::StackName}" in name["Fn::Sub"] for name in names)
    everywhere = [
        stacks["front_door"].resources["Paths"]["Properties"]["Name"],
        stacks["monitoring"].resources["Dashboard"]["Properties"]["DashboardName"],
    ]
    assert everywhere == [{"Fn::Sub": "${Name}-${AWS::Region}"}] * 2


def test_a_slow_statement_is_logged_without_its_parameters(stacks: dict[str, Template]) -> None:
    """Payloads and hashes are parameters."""
    parameters = stacks["database"].resources["Parameters"]["Properties"]["Parameters"]
    assert parameters["log_parameter_max_length"] == "0"


def test_a_silent_sweeper_raises_an_alarm(stacks: dict[str, Template]) -> None:
    """Missing data counts as broken: a schedule that does not fire publishes nothing."""
    alarms = stacks["monitoring"].of_type("AWS::CloudWatch::Alarm")
    for name in ("SweeperSilent", "AuditSilent"):
        assert (alarms[name]["TreatMissingData"], alarms[name]["Statistic"]) == ("breaching", "SampleCount")
