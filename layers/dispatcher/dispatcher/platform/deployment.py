"""The custom resource of a deployment: it migrates the schema and reports to CloudFormation."""

import hashlib
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
"""How long to wait for `migrate`: its own timeout and a little more."""
REPORT_SECONDS = 10
REASON_MOST = 250
"""Characters.  CloudFormation accepts reports of up to 4 KB, and JSON may need twelve bytes for a character."""
ASLEEP = frozenset({"ResourceNotReadyException", "ResourceConflictException"})
"""Lambda's errors while it prepares a function in a VPC that was not invoked for two weeks."""
WAKING_PAUSES = (5, 10, 20, 25)
"""Seconds between the tries until the function is ready."""
T = TypeVar("T")
PHYSICAL_ID = "migration"
"""The beginning of the resource's id, which names what was deployed last.  CloudFormation deletes the resource with the id of
before; to delete does nothing."""


class MigrationFailed(DispatcherError):
    """The schema could not be migrated."""


class ReleaseNotNamed(DispatcherError):
    """New code or settings need a new name of the release."""


def answer(event: dict[str, Any]) -> dict[str, str]:
    """Answer a custom resource's event, report the outcome to the event's URL, and return the report.

    Create and Update migrate.  Delete does nothing: deleting a stack deletes no data.
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
            properties = event["ResourceProperties"]
            if event.get("PhysicalResourceId") != identity(properties):  # else a rollback to what was deployed last
                check_name(properties, event.get("OldResourceProperties", {}))
            run_migration(properties["Function"])
            report["PhysicalResourceId"] = identity(properties)
        except Exception as error:  # noqa: BLE001 - without a report the stack waits until it times out
            logger.exception("Migration failed")
            report |= {"Status": "FAILED", "Reason": f"{str(error)[:REASON_MOST]} (the log has more)"}
    put(event["ResponseURL"], report)
    return report


def identity(properties: dict[str, Any]) -> str:
    """Return the id of the resource that has these properties."""
    deployed = [properties.get(name) for name in ("Release", "Layer", "Settings")]
    return f"{PHYSICAL_ID}-{hashlib.sha256(json.dumps(deployed).encode()).hexdigest()[:16]}"


def check_name(properties: dict[str, Any], before: dict[str, Any]) -> None:
    """Refuse new code or settings under the name of the last release: functions would not get them.

    Raises ReleaseNotNamed.  A stack that had no releases before has another `Release` now.
    """
    if before.get("Release") != properties.get("Release"):
        return
    changed = [name for name in ("Layer", "Settings") if before.get(name) != properties.get(name)]
    if changed:
        raise ReleaseNotNamed(
            f"{' and '.join(changed)} changed, and Release is still {properties.get('Release')!r}: no function would get it."
            "  Next: deploy with another value of Release, as `make deploy` does."
        )


def run_migration(function: str) -> None:
    """Invoke `migrate` and wait for it; raises MigrationFailed with its error message."""
    # No other retries: the operator who deploys sees the error, and a second migration would only wait for the first.
    config = Config(
        connect_timeout=5, read_timeout=MIGRATE_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
    )
    invoke = partial(boto3.client("lambda", config=config).invoke, FunctionName=function, Payload=b"{}")
    answered = when_awake(invoke)
    said = answered["Payload"].read()
    if "FunctionError" in answered:
        raise MigrationFailed(json.loads(said).get("errorMessage", "migrate failed"))


def when_awake(invoke: Callable[[], T]) -> T:
    """Invoke a function in a VPC; wait until Lambda has prepared it, if it was not invoked for weeks."""
    for pause in WAKING_PAUSES:
        try:
            return invoke()
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ASLEEP:
                raise
            logger.info("Function is not ready", extra={"pause": pause})
            time.sleep(pause)
    return invoke()


def put(url: str, report: dict[str, str]) -> None:
    """Write the report to the URL that CloudFormation reads."""
    # CloudFormation signed the URL without a content type.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation gave the URL
        url, data=json.dumps(report).encode(), method="PUT", headers={"Content-Type": ""}
    )
    with urllib.request.urlopen(request, timeout=REPORT_SECONDS):  # noqa: S310 - CloudFormation's own URL
        pass
