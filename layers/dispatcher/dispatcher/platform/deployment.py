"""What a deployment has to do beside what CloudFormation does: migrate the schema, and report."""

import json
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from dispatcher.errors import DispatcherError
from dispatcher.platform.observability import logger

MIGRATE_SECONDS = 310
"""How long an answer of migrate is waited for: its own timeout, and a little."""
REPORT_SECONDS = 10
REASON_MOST = 250
"""Characters: CloudFormation takes no report of more than 4 KB, and JSON may write each in twelve bytes."""
ASLEEP = frozenset({"ResourceNotReadyException", "ResourceConflictException"})
"""What Lambda says of a function in a VPC that nobody invoked for two weeks, while it makes it ready again."""
WAKING_PAUSES = (5, 10, 20, 25)
"""Seconds between tries until it is."""
T = TypeVar("T")
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
        except Exception as error:  # noqa: BLE001 - a stack that is told nothing waits until it gives up
            logger.exception("Migration failed")
            report |= {"Status": "FAILED", "Reason": f"{str(error)[:REASON_MOST]}; the log has more"}
    put(event["ResponseURL"], report)
    return report


def run_migration(function: str) -> None:
    """Invoke migrate and wait for it; raises MigrationFailed with what it says."""
    # Nothing else is tried again: whoever deploys sees what happened, and a second migration would only wait for the first.
    config = Config(
        connect_timeout=5, read_timeout=MIGRATE_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
    )
    invoke = partial(boto3.client("lambda", config=config).invoke, FunctionName=function, Payload=b"{}")
    answered = _when_awake(invoke)
    said = answered["Payload"].read()
    if "FunctionError" in answered:
        raise MigrationFailed(json.loads(said).get("errorMessage", "migrate failed"))


def _when_awake(invoke: Callable[[], T]) -> T:
    for pause in WAKING_PAUSES:
        try:
            return invoke()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ASLEEP:
                raise
            logger.info("Migrate is not ready", extra={"pause": pause})
            time.sleep(pause)
    return invoke()


def put(url: str, report: dict[str, str]) -> None:
    """Write the report to the address that CloudFormation looks at."""
    # CloudFormation signed the address without a content type.
    request = urllib.request.Request(  # noqa: S310 - the address is CloudFormation's own
        url, data=json.dumps(report).encode(), method="PUT", headers={"Content-Type": ""}
    )
    with urllib.request.urlopen(request, timeout=REPORT_SECONDS):  # noqa: S310 - likewise
        pass
