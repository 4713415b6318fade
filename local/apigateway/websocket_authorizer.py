"""Who may open a WebSocket: identity sources, the authorizer's policy, and the context that it returns."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from local.apigateway import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.lambda_runtime.runtime import Runtime
    from local.sam_template.resources import Authorizer


class HandshakeRefused(Exception):
    """The handshake is answered with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


async def authorize(
    authorizer: Authorizer, runtime: Runtime, event: Mapping[str, Any], method_arn: str
) -> dict[str, str]:
    """Call the authorizer with a `$connect` event; return the part of its answer that later events contain.

    Raises HandshakeRefused.
    """
    if not all(_identity(source, event) for source in authorizer.identity_sources):
        raise HandshakeRefused(401, "Unauthorized")
    result = await runtime.invoke(authorizer.function, events.socket_authorizer_event(event, method_arn))
    answer = result.json()
    if result.failed:
        # Lambda authorizers answer 401 by raising exactly this.
        unauthorized = answer.get("errorMessage") == "Unauthorized"
        raise HandshakeRefused(401, "Unauthorized") if unauthorized else HandshakeRefused(500, "Internal server error")
    try:
        allowed = _allows(answer["policyDocument"], method_arn)
        context: dict[str, Any] = answer.get("context") or {}
        facts = {"principalId": str(answer["principalId"])} | {name: _plain(value) for name, value in context.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise HandshakeRefused(500, "Internal server error") from None
    if not allowed:
        raise HandshakeRefused(403, "Forbidden")
    return facts


def _allows(policy: Mapping[str, Any], method_arn: str) -> bool:
    """Evaluate an IAM policy: some statement allows the method, and none denies it."""
    statements: list[dict[str, Any]] | dict[str, Any] = policy["Statement"]
    effects = {
        statement["Effect"]
        for statement in ([statements] if isinstance(statements, dict) else statements)
        if _covers(statement["Action"], "execute-api:Invoke") and _covers(statement["Resource"], method_arn)
    }
    return "Allow" in effects and "Deny" not in effects


def _covers(patterns: str | list[str], value: str) -> bool:
    return any(
        _compiled(pattern).fullmatch(value) for pattern in ([patterns] if isinstance(patterns, str) else patterns)
    )


@lru_cache(maxsize=64)  # the same for each agent
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.IGNORECASE)


def _identity(source: str, event: Mapping[str, Any]) -> str | None:
    """Return the value of `route.request.header.X` (X in its exact case) or `route.request.querystring.X`."""
    _, _, place, name = source.split(".", 3)
    values = event.get("headers" if place == "header" else "queryStringParameters", {})
    return cast("str | None", values.get(name))


def _plain(value: object) -> str:
    """Return a context value as the string that API Gateway makes of it; objects and lists are not allowed."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float) or value is None:
        return json.dumps(value)
    raise ValueError(value)
