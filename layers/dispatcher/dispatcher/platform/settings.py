"""What a function is told by its environment, read when it is asked for."""

import json
import os
from collections.abc import Collection

from aws_lambda_powertools.utilities import parameters

from dispatcher.errors import Misconfigured
from dispatcher.platform import rds


def database_url(*, fresh: bool = False) -> str:
    """Return the libpq URL of the database.

    From `DATABASE_URL`; or from the secret that `DATABASE_SECRET_ARN` names, whose host `DATABASE_HOST` may give instead; or
    for `DATABASE_ROLE` at `DATABASE_HOST`, which logs in with IAM.  A `fresh` one asks Secrets Manager again, because a
    password may just have been rotated.  Raises Misconfigured where nothing says it.
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
    """Tell whether a log-in that was refused may succeed with what Secrets Manager says now."""
    return bool(os.environ.get("DATABASE_SECRET_ARN")) and not os.environ.get("DATABASE_URL")


def database_role() -> str | None:
    """Return the role that the functions log in as with IAM; None where they log in as the schema's owner."""
    return os.environ.get("DATABASE_ROLE") or None


def has_front_door() -> bool:
    """Tell whether there is a front door."""
    return bool(os.environ.get("ORIGIN_SECRET_ARN"))


def origin_secrets() -> Collection[str] | None:
    """Return what the front door may put into the header x-origin-secret; None where there is no front door.

    The secret is JSON, {"current": …} and during a rotation {"current": …, "previous": …}; what is empty admits nobody.
    Raises Misconfigured for anything else.
    """
    if not has_front_door():
        return None
    try:
        known = json.loads(_secret("ORIGIN_SECRET_ARN"))
        return [str(known[name]) for name in ("current", "previous") if known.get(name)]
    except (ValueError, AttributeError):
        raise Misconfigured('The front door\'s secret is not JSON like {"current": "…"}.') from None


def token_secret() -> str:
    """Return the key that signs operators' tokens."""
    return os.environ.get("TOKEN_SECRET") or _secret("TOKEN_SECRET_ARN")


def admin_password() -> str:
    """Return the first admin's password."""
    return os.environ.get("ADMIN_PASSWORD") or _secret("ADMIN_SECRET_ARN")


def connections_url() -> str:
    """Return the URL of the @connections API."""
    return _required("CONNECTIONS_URL")


def flush_function() -> str:
    """Return the name under which flush is invoked."""
    return _required("FLUSH_FUNCTION")


def queue_limit() -> int:
    """Return how many commands may wait for one agent."""
    return int(os.environ.get("QUEUE_LIMIT") or 1000)


def operator_rate() -> int:
    """Return how many commands an operator may submit a minute; 0: as many as he likes."""
    return int(os.environ.get("OPERATOR_RATE") or 0)


def agent_rate() -> int:
    """Return how many messages a minute an agent may send over a connection; 0: as many as it likes."""
    return int(os.environ.get("AGENT_RATE") or 0)


def retention_days() -> int:
    """Return how long a command is kept after its end."""
    return int(os.environ.get("RETENTION_DAYS") or 30)


def _secret(variable: str, *, fresh: bool = False) -> str:
    return str(parameters.get_secret(_required(variable), max_age=300, force_fetch=fresh))


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise Misconfigured(f"The environment variable {variable} is not set.")
    return value
