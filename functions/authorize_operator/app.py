"""Authorizer of the HTTP API: who calls, in which role.

It never denies, because an HTTP API answers a denial with a 403 without a reason.  The layer refuses an unknown caller with a
401.
"""

import json
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import authentication
from dispatcher.errors import NotAuthenticated, Unavailable
from dispatcher.platform import database, edge
from dispatcher.platform.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer a request authorizer's event of format 2.0."""
    del context
    try:
        operator = authentication.operator_of(database.connect, edge.headers_of(event).get("authorization"))
    except NotAuthenticated as error:
        return {"isAuthorized": True, "context": {"reason": error.detail}}
    except Unavailable as error:
        return {"isAuthorized": True, "context": {"unavailable": error.detail}}
    except database.INTERRUPTIONS:
        logger.exception("Database unavailable")
        return {"isAuthorized": True, "context": {"unavailable": database.UNREACHABLE}}
    who = {"username": operator.username, "role": operator.role}
    labels = {} if operator.scope is None else {"labels": json.dumps(dict(operator.scope))}
    return {"isAuthorized": True, "context": who | labels}
