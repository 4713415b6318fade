"""The function `deploy`: CloudFormation's custom resource, against a fake Lambda API and a fake address for reports."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dispatcher.platform import deployment
from tests.integration.functions.events import Run


@dataclass
class Cloud:
    """Lambda's Invoke, and the address at which CloudFormation waits for the report."""

    url: str
    error: str = ""
    asleep: int = 0
    invoked: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    content_types: list[str] = field(default_factory=list[str])

    def event(self, request_type: str) -> dict[str, Any]:
        """Return the event of a custom resource."""
        return {
            "RequestType": request_type,
            "ResponseURL": f"{self.url}/report",
            "StackId": "arn:stack",
            "RequestId": "request-1",
            "LogicalResourceId": "Migration",
            "ResourceProperties": {"Function": "acd-migrate"},
        }

    def invoke(self, _request: Request) -> Response:
        """Run `migrate`."""
        self.invoked += 1
        if self.invoked <= self.asleep:
            return Response("{}", status=502, headers={"X-Amzn-ErrorType": "ResourceNotReadyException"})
        if self.error:
            return Response(json.dumps({"errorMessage": self.error}), headers={"X-Amz-Function-Error": "Unhandled"})
        return Response('{"applied": []}')

    def take_report(self, request: Request) -> Response:
        """Take the report."""
        self.content_types.append(request.headers.get("Content-Type", ""))
        self.reports.append(json.loads(request.data))
        return Response()


@pytest.fixture
def cloud(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Fakes of Lambda and CloudFormation on this machine."""
    cloud = Cloud(httpserver.url_for("").rstrip("/"))
    invocations = "/2015-03-31/functions/acd-migrate/invocations"
    httpserver.expect_request(invocations, method="POST").respond_with_handler(cloud.invoke)
    httpserver.expect_request("/report", method="PUT").respond_with_handler(cloud.take_report)
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", cloud.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    return cloud


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_deployment_migrates_and_reports(run: Run, cloud: Cloud, request_type: str) -> None:
    """With the ids of the request, and without a content type, because the address was signed without one."""
    run("deploy", cloud.event(request_type))

    assert cloud.invoked == 1
    [report] = cloud.reports
    assert report["Status"] == "SUCCESS"
    assert report["PhysicalResourceId"].startswith("migration-")
    assert report["StackId"] == "arn:stack"
    assert report["RequestId"] == "request-1"
    assert report["LogicalResourceId"] == "Migration"
    assert cloud.content_types == [""]


def test_a_migration_that_fails_fails_the_deployment_and_says_why(run: Run, cloud: Cloud) -> None:
    """CloudFormation then rolls back; the old code serves all the time."""
    cloud.error = "The schema file 0001_dispatcher.sql was changed after it had been applied."

    run("deploy", cloud.event("Update"))

    [report] = cloud.reports
    assert report["Status"] == "FAILED"
    assert cloud.error in report["Reason"]


def test_deploy_waits_for_a_migrate_function_that_is_not_ready(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda refuses invocations of a long idle function in a VPC until it is ready again."""
    monkeypatch.setattr(deployment, "WAKING_PAUSES", (0.01, 0.01))
    cloud.asleep = 2

    run("deploy", cloud.event("Update"))

    assert [report["Status"] for report in cloud.reports] == ["SUCCESS"]
    assert cloud.invoked == 3


def test_a_migrate_function_that_never_becomes_ready_fails_the_deployment(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure comes in time for the report to CloudFormation."""
    assert sum(deployment.WAKING_PAUSES) + deployment.MIGRATE_SECONDS + deployment.REPORT_SECONDS < 390
    monkeypatch.setattr(deployment, "WAKING_PAUSES", (0.01,))
    cloud.asleep = 9

    run("deploy", cloud.event("Update"))

    [report] = cloud.reports
    assert report["Status"] == "FAILED"
    assert "ResourceNotReady" in report["Reason"]


def test_an_unexpected_error_is_reported_too(run: Run, cloud: Cloud) -> None:
    """The report has less than the 4 KB that CloudFormation accepts."""
    event = cloud.event("Update")
    event["ResourceProperties"] = {}
    run("deploy", event)
    cloud.error = "\N{ROCKET}" * 10_000
    run("deploy", cloud.event("Update"))

    assert [report["Status"] for report in cloud.reports] == ["FAILED", "FAILED"]
    assert max(len(json.dumps(report)) for report in cloud.reports) < 4096


def test_a_lambda_that_cannot_be_reached_fails_the_deployment(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a report the stack would wait for its whole timeout."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")

    run("deploy", cloud.event("Create"))

    assert [report["Status"] for report in cloud.reports] == ["FAILED"]


@pytest.mark.parametrize("member", ["Layer", "Settings"])
def test_new_code_under_the_name_of_the_last_release_fails_the_deployment(run: Run, cloud: Cloud, member: str) -> None:
    """SAM would publish no version, and the old code and settings would serve on without a word."""
    event = cloud.event("Update")
    event["ResourceProperties"] |= {"Release": "7", member: "new"}
    event["OldResourceProperties"] = {"Release": "7", member: "old"}

    run("deploy", event)
    run("deploy", event | {"OldResourceProperties": {"Release": "6", member: "old"}})
    run("deploy", event | {"OldResourceProperties": {member: "old"}})  # a stack of before releases had names

    assert [report["Status"] for report in cloud.reports] == ["FAILED", "SUCCESS", "SUCCESS"]
    assert f"{member} changed" in cloud.reports[0]["Reason"]
    assert cloud.invoked == 2


def test_the_rollback_of_a_refused_deployment_is_not_refused(run: Run, cloud: Cloud) -> None:
    """CloudFormation updates the resource back, with the properties exchanged: it names what was deployed last by its id."""
    old, new = {"Release": "7", "Settings": ["1"]}, {"Release": "7", "Settings": ["2"]}
    function = cloud.event("Update")["ResourceProperties"]
    run("deploy", cloud.event("Create") | {"ResourceProperties": function | old})
    deployed = {"PhysicalResourceId": cloud.reports[0]["PhysicalResourceId"]}

    event = cloud.event("Update") | deployed
    run("deploy", event | {"ResourceProperties": function | new, "OldResourceProperties": function | old})
    run("deploy", event | {"ResourceProperties": function | old, "OldResourceProperties": function | new})

    assert [report["Status"] for report in cloud.reports] == ["SUCCESS", "FAILED", "SUCCESS"]
    assert {report["PhysicalResourceId"] for report in cloud.reports} == {deployed["PhysicalResourceId"]}


def test_deleting_a_stack_deletes_no_data(run: Run, cloud: Cloud) -> None:
    """Nothing is invoked, and the deletion goes on."""
    run("deploy", cloud.event("Delete") | {"PhysicalResourceId": "something-else"})

    assert cloud.invoked == 0
    assert [(r["Status"], r["PhysicalResourceId"]) for r in cloud.reports] == [("SUCCESS", "something-else")]
