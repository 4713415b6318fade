"""What a deployment has to do beside what CloudFormation does: migrate the schema, and report."""

import json
import urllib.request
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dispatcher.errors import DispatcherError
from dispatcher.observability import logger

MIGRATE_SECONDS = 310
"""How long an answer of migrate is waited for: its own timeout, and a little."""
REPORT_SECONDS = 10
PHYSICAL_ID = "migration"
"""There is one schema: no update ever replaces it, so nothing is ever deleted with what was replaced."""


class MigrationFailed(DispatcherError):
    """The schema could not be migrated."""


def answer(event: dict[str, Any]) -> dict[str, str]:
    """Do what a custom resource's event asks for, and report it at the event's address; return the report.

    Create and Update migrate.  Delete does nothing: a stack that is deleted takes no data along.
    """
    report = {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": event.get("PhysicalResourceId") or PHYSICAL_ID,
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
    }
    if event["RequestType"] != "Delete":
        try:
            run_migration(event["ResourceProperties"]["Function"])
        except (MigrationFailed, ClientError, BotoCoreError) as error:
            logger.exception("Migration failed")
            report |= {"Status": "FAILED", "Reason": f"{error}; the log has more"}
    put(event["ResponseURL"], report)
    return report


def run_migration(function: str) -> None:
    """Invoke migrate and wait for it; raises MigrationFailed with what it says."""
    # Nothing is tried again: whoever deploys sees what happened, and a second migration would only wait for the first.
    config = Config(
        connect_timeout=5, read_timeout=MIGRATE_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
    )
    answered = boto3.client("lambda", config=config).invoke(FunctionName=function, Payload=b"{}")
    said = answered["Payload"].read()
    if "FunctionError" in answered:
        raise MigrationFailed(json.loads(said).get("errorMessage", "migrate failed"))


def put(url: str, report: dict[str, str]) -> None:
    """Write the report to the address that CloudFormation looks at."""
    # CloudFormation signed the address without a content type.
    request = urllib.request.Request(  # noqa: S310 - the address is CloudFormation's own
        url, data=json.dumps(report).encode(), method="PUT", headers={"Content-Type": ""}
    )
    with urllib.request.urlopen(request, timeout=REPORT_SECONDS):  # noqa: S310 - likewise
        pass
