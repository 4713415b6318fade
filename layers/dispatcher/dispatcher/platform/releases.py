"""The check of a release: what its code needs is there, before it gets traffic."""

import json
from collections.abc import Callable
from functools import partial

import boto3
from botocore.config import Config

from dispatcher.errors import DispatcherError
from dispatcher.platform import functions, migrations
from dispatcher.platform.database import Connection
from dispatcher.platform.deployment import when_awake
from dispatcher.platform.observability import logger

OLDEST_POSTGRES = 150_000
"""The oldest version of PostgreSQL, as `server_version_num` has it."""
CHECK_SECONDS = 30
"""How long the gate waits for the check: its timeout and a start."""
CONNECT_SECONDS, TELL_SECONDS = 5, 10
TRIES = 2
"""How often Lambda and CodeDeploy are asked, if they do not answer.  The gate's own timeout is longer than all of it."""


class NotReady(DispatcherError):
    """The release must not get traffic."""


def check(conn: Connection, obstacle: Callable[[], str | None]) -> dict[str, object]:
    """Check the database's version, the schema, the functions of this release and the way to @connections.

    `obstacle` tells why @connections cannot be used.  Returns what was found; raises NotReady with every reason.
    """
    version = conn.info.server_version
    reasons: list[str] = []
    if version < OLDEST_POSTGRES:
        reasons.append(f"PostgreSQL {version // 10_000} is older than 15.")
    if missing := migrations.missing(conn):
        reasons.append(f"The schema lacks {', '.join(missing)}.")
    if not functions.are_there(conn):
        reasons.append(f"The functions of this release ({functions.schema()}) are not in the database, or not granted.")
    if obstructed := obstacle():
        reasons.append(f"@connections: {obstructed}.")
    if reasons:
        raise NotReady(" ".join(reasons))
    return {"postgres": version // 10_000, "functions": functions.schema()}


def decide(event: dict[str, str], check_function: str) -> str:
    """Run the check for CodeDeploy, tell it the outcome, and return it: Succeeded or Failed.

    CodeDeploy waits for an hour without an answer, so a check that cannot run has failed.
    """
    invoke = partial(
        boto3.client("lambda", config=_patience(CHECK_SECONDS)).invoke, FunctionName=check_function, Payload=b"{}"
    )
    try:
        answer = when_awake(invoke)
        said = json.loads(answer["Payload"].read() or b"{}")
        refused = said.get("errorMessage", "the check failed") if answer.get("FunctionError") else None
    except Exception as error:  # noqa: BLE001 - CodeDeploy gets an answer in any case
        refused = str(error)
    status = "Succeeded" if refused is None else "Failed"
    logger.info("Release checked", extra={"status": status, "reason": refused, "deployment": event["DeploymentId"]})
    boto3.client("codedeploy", config=_patience(TELL_SECONDS)).put_lifecycle_event_hook_execution_status(
        deploymentId=event["DeploymentId"],
        lifecycleEventHookExecutionId=event["LifecycleEventHookExecutionId"],
        status=status,
    )
    return status


def _patience(seconds: float) -> Config:
    return Config(connect_timeout=CONNECT_SECONDS, read_timeout=seconds, retries={"total_max_attempts": TRIES})
