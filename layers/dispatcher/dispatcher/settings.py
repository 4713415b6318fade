"""What a function is told by its environment, read when it is asked for."""

import json
import os
from urllib.parse import quote

from aws_lambda_powertools.utilities import parameters

from dispatcher.errors import Misconfigured


def database_url() -> str:
    """Return the libpq URL of the database: `DATABASE_URL`, or the secret that `DATABASE_SECRET_ARN` names.

    Raises Misconfigured where neither says it.
    """
    if url := os.environ.get("DATABASE_URL"):
        return url
    secret = json.loads(_secret("DATABASE_SECRET_ARN"))
    # Generated passwords hold characters that end a URL's user part.
    user, password = quote(secret["username"], safe=""), quote(secret["password"], safe="")
    return f"postgresql://{user}:{password}@{secret['host']}:{secret.get('port', 5432)}/{secret.get('dbname', 'dispatcher')}"


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


def _secret(variable: str) -> str:
    return str(parameters.get_secret(_required(variable), max_age=300))


def _required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise Misconfigured(f"The environment variable {variable} is not set.")
    return value
