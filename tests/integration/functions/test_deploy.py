"""The function `deploy`: CloudFormation's custom resource, against a Lambda API and an address that answer."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from dispatcher.platform import deployment
from tests.integration.functions.events import Run


@dataclass
class Cloud:
    """Lambda's Invoke, and the address at which CloudFormation waits for the report."""

    url: str = ""
    error: str = ""
    asleep: int = 0
    invoked: list[str] = field(default_factory=list[str])
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


class Handler(BaseHTTPRequestHandler):
    """Answers for both."""

    def do_POST(self) -> None:
        """Invoke."""
        cloud = cast("Server", self.server).cloud
        cloud.invoked.append(self.path.split("/")[3])
        if len(cloud.invoked) <= cloud.asleep:
            self._refuse("ResourceNotReadyException")
            return
        body = json.dumps({"errorMessage": cloud.error} if cloud.error else {"applied": []}).encode()
        self.send_response(200)
        if cloud.error:
            self.send_header("X-Amz-Function-Error", "Unhandled")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, error: str) -> None:
        self.send_response(502)
        self.send_header("X-Amzn-ErrorType", error)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_PUT(self) -> None:
        """Take the report."""
        cloud = cast("Server", self.server).cloud
        cloud.content_types.append(self.headers.get("Content-Type", ""))
        cloud.reports.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        """Log nothing."""


class Server(ThreadingHTTPServer):
    """A server that knows its cloud."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cloud = cloud


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A cloud on this machine."""
    cloud = Cloud()
    with Server(cloud) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cloud.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", cloud.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        yield cloud
        server.shutdown()


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_deployment_migrates_and_reports(run: Run, cloud: Cloud, request_type: str) -> None:
    """With the ids of the request, and without a content type, because the address was signed without one."""
    run("deploy", cloud.event(request_type))

    assert cloud.invoked == ["acd-migrate"]
    [report] = cloud.reports
    assert report["Status"] == "SUCCESS"
    assert report["PhysicalResourceId"] == "migration"
    assert report["StackId"] == "arn:stack"
    assert report["RequestId"] == "request-1"
    assert report["LogicalResourceId"] == "Migration"
    assert cloud.content_types == [""]


def test_a_migration_that_fails_fails_the_deployment_and_says_why(run: Run, cloud: Cloud) -> None:
    """CloudFormation then rolls back; the old code never stopped serving."""
    cloud.error = "The schema file 0001_dispatcher.sql was changed after it had been applied."

    run("deploy", cloud.event("Update"))

    [report] = cloud.reports
    assert report["Status"] == "FAILED"
    assert cloud.error in report["Reason"]


def test_a_migrate_that_nobody_invoked_for_weeks_is_waited_for(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda makes an idle function in a VPC ready again when it is invoked, and refuses until then."""
    monkeypatch.setattr(deployment, "WAKING_PAUSES", (0.01, 0.01))
    cloud.asleep = 2

    run("deploy", cloud.event("Update"))

    assert [report["Status"] for report in cloud.reports] == ["SUCCESS"]
    assert len(cloud.invoked) == 3


def test_a_migrate_that_stays_asleep_fails_the_deployment(
    run: Run, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time for the report to CloudFormation."""
    assert sum(deployment.WAKING_PAUSES) + deployment.MIGRATE_SECONDS + deployment.REPORT_SECONDS < 390
    monkeypatch.setattr(deployment, "WAKING_PAUSES", (0.01,))
    cloud.asleep = 9

    run("deploy", cloud.event("Update"))

    [report] = cloud.reports
    assert report["Status"] == "FAILED"
    assert "ResourceNotReady" in report["Reason"]


def test_an_unexpected_error_is_reported_too(run: Run, cloud: Cloud) -> None:
    """In less than the 4 KB that CloudFormation takes."""
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


def test_a_stack_that_is_deleted_takes_no_data_along(run: Run, cloud: Cloud) -> None:
    """Nothing is invoked, and the deletion goes on."""
    run("deploy", cloud.event("Delete") | {"PhysicalResourceId": "something-else"})

    assert cloud.invoked == []
    assert [(r["Status"], r["PhysicalResourceId"]) for r in cloud.reports] == [("SUCCESS", "something-else")]
