"""Problem documents for agents that register."""

import json
from http import HTTPStatus
from typing import Any


def readable_by_agents(answer: dict[str, Any]) -> dict[str, Any]:
    """Leave `status` out of a problem document: agents that exist read a text there, and RFC 9457 lets it be absent."""
    if answer["statusCode"] < HTTPStatus.BAD_REQUEST or not answer.get("body"):
        return answer
    problem = json.loads(answer["body"])
    problem.pop("status", None)
    return {**answer, "body": json.dumps(problem)}
