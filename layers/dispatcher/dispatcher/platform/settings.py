"""The settings of a function, read from its environment when they are needed."""

import json
import os
from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING, cast

from dispatcher.errors import Misconfigured
from dispatcher.platform import rds

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

SECRET_SECONDS = 1
"""How long Secrets Manager may take to be reached, and to answer; there are two tries."""


def database_url(*, fresh: bool = False) -> str:
    """Return the libpq URL of the database.

    It comes from `DATABASE_URL`; or from the secret `DATABASE_SECRET_ARN`, where `DATABASE_HOST` may give the host; or it is
    an IAM log-in of `DATABASE_ROLE` at `DATABASE_HOST`.  `fresh` asks Secrets Manager again: the password may just have been
    rotated.  Raises Misconfigured if none of these is set.
    """
    if url := os.environ.get("DATABASE_URL"):
        return url
    if os.environ.get("DATABASE_SECRET_ARN"):
        secret = json.loads(_secret("DATABASE_SECRET_ARN", fresh=fresh))
        host = secret.get("host") or _required("DATABASE_HOST")
        return rds.url(
            host=host,
            port=int(secret.get("port", rds.PORT)),
            dbname=secret.get("dbname", rds.DBNAME),
            user=secret["username"],
            password=secret["password"],
            sslmode=secret.get("sslmode"),
        )
    host, role = _required("DATABASE_HOST"), _required("DATABASE_ROLE")
    return rds.url(host=host, user=role, password=rds.login_token(host, rds.PORT, role))


def database_password_can_change() -> bool:
    """Tell whether a refused log-in may succeed with the password that Secrets Manager holds now."""
    return bool(os.environ.get("DATABASE_SECRET_ARN")) and not os.environ.get("DATABASE_URL")


def prepares_statements() -> bool:
    """Tell whether a connection belongs to this process alone: a prepared statement would pin a pooling proxy, or break it."""
    return os.environ.get("DATABASE_PREPARES") == "true"


def database_role() -> str | None:
    """Return the role that functions log in as with IAM; None if they log in as the owner of the schema."""
    return os.environ.get("DATABASE_ROLE") or None


def has_edge() -> bool:
    """Tell whether the deployment has an edge."""
    return bool(os.environ.get("ORIGIN_SECRET_ARN"))


def edge_secrets() -> Collection[str] | None:
    """Return the values that the edge may send in the header x-origin-secret; None if there is no edge.

    The secret is JSON: {"current": …}, and {"current": …, "previous": …} during a rotation.  An empty value is never accepted.
    Raises Misconfigured for anything else.
    """
    if not has_edge():
        return None
    try:
        known = json.loads(_secret("ORIGIN_SECRET_ARN"))
        return [str(known[name]) for name in ("current", "previous") if known.get(name)]
    except (ValueError, AttributeError):
        raise Misconfigured('The edge\'s secret is not JSON like {"current": "…"}.') from None


def token_secret() -> str:
    """Return the key that signs operators' tokens."""
    return os.environ.get("TOKEN_SECRET") or _secret("TOKEN_SECRET_ARN")


def admin_password() -> str:
    """Return the first admin's password."""
    return os.environ.get("ADMIN_PASSWORD") or _secret("ADMIN_SECRET_ARN")


def connections_url() -> str:
    """Return the URL of the @connections API."""
    return _required("CONNECTIONS_URL")


def lambda_url() -> str:
    """Return the URL of Lambda's API, from the variables that boto3 reads; an emulator sets the second one."""
    return (
        os.environ.get("AWS_ENDPOINT_URL_LAMBDA")
        or os.environ.get("AWS_ENDPOINT_URL")
        or f"https://lambda.{os.environ.get('AWS_REGION', 'us-east-1')}.amazonaws.com"
    )


def event_bus() -> str:
    """Return the name of the EventBridge bus that gets the events."""
    return _required("EVENT_BUS_NAME")


def events_url() -> str:
    """Return the URL of EventBridge's API, from the variables that boto3 reads; an emulator sets the second one."""
    return (
        os.environ.get("AWS_ENDPOINT_URL_EVENTBRIDGE")
        or os.environ.get("AWS_ENDPOINT_URL")
        or f"https://events.{os.environ.get('AWS_REGION', 'us-east-1')}.amazonaws.com"
    )


def flush_function() -> str:
    """Return the name of the function `flush`, for its asynchronous invocation."""
    return _required("FLUSH_FUNCTION")


def release_check_function() -> str:
    """Return the name of the function `release_check`."""
    return _required("RELEASE_CHECK_FUNCTION")


def webhook_function() -> str:
    """Return the name of the function `webhook`, which sends to receivers."""
    return _required("WEBHOOK_FUNCTION")


def deliver_webhooks_function() -> str:
    """Return the name of the function `deliver_webhooks`, for its asynchronous invocation."""
    return _required("DELIVER_WEBHOOKS_FUNCTION")


def webhook_key() -> str:
    """Return the key from which the secrets of webhooks are computed."""
    return os.environ.get("WEBHOOK_KEY") or _secret("WEBHOOK_KEY_ARN")


def webhooks_private() -> bool:
    """Tell whether webhooks may lead to private addresses, and use http; on one machine only."""
    return os.environ.get("WEBHOOKS_PRIVATE") == "1"


def queue_limit() -> int:
    """Return how many commands may be pending for one agent."""
    return int(os.environ.get("QUEUE_LIMIT") or 1000)


def operator_rate() -> int:
    """Return how many commands an operator may submit in a minute; 0 = unlimited."""
    return int(os.environ.get("OPERATOR_RATE") or 0)


def agent_rate() -> int:
    """Return how many messages an agent may send in a minute; 0 = unlimited."""
    return int(os.environ.get("AGENT_RATE") or 0)


def heartbeat_seconds() -> int:
    """Return the period of heartbeats, in seconds.  Presence is derived from it (see `registry.presence_of`)."""
    return int(os.environ.get("HEARTBEAT_SECONDS") or 30)


def sweep_shards() -> int:
    """Return among how many sweeps the agents are divided."""
    return int(os.environ.get("SWEEP_SHARDS") or 1)


def late_reports_queue() -> str | None:
    """Return the URL of the queue that keeps reports while the database cannot be reached; None if there is none."""
    return os.environ.get("LATE_REPORTS_QUEUE_URL") or None


def event_waiters() -> int:
    """Return how many requests may wait for events at a time."""
    return int(os.environ.get("EVENT_WAITERS") or 5)


def retention_days() -> int:
    """Return for how many days a command is kept after its end."""
    return int(os.environ.get("RETENTION_DAYS") or 30)


def _secret(variable: str, *, fresh: bool = False) -> str:
    return cast("str", _secrets().get(_required(variable), max_age=300, force_fetch=fresh))


@cache
def _secrets() -> "SecretsProvider":
    # They load boto3, which most functions never need.
    from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # botocore waits for a minute by default, and an agent for its handshake only ten seconds.
    config = Config(connect_timeout=SECRET_SECONDS, read_timeout=SECRET_SECONDS, retries={"total_max_attempts": 2})
    return SecretsProvider(boto_config=config)


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise Misconfigured(f"The environment variable {variable} is not set.")
    return value
