"""Idempotency keys: the same request is one command, another request is refused."""

from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import AGENT, COMMANDS, LIST, Run, ask
from tests.rows import statuses


@pytest.mark.usefixtures("agent")
def test_one_idempotency_key_is_one_command(run: Run, conn: Connection) -> None:
    """The same body gives the same 202, another body 409."""
    one = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k")
    again = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k")
    other = ask(run, "commands", "POST", COMMANDS, {"action": "other"}, idempotency_key="k")

    assert one[0] == 202
    assert again[0] == 202
    assert other[0] == 409
    assert again[1]["commandId"] == one[1]["commandId"]
    assert list(statuses(conn)) == [one[1]["commandId"]]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "other",
    [
        {"payload": {"n": 2}},
        {"sessionId": "s2"},
        {"priority": 2},
        {"ttlSeconds": 2},
        {"executionTimeoutSeconds": 2},
        {"maxAttempts": 2},
        {"notBefore": "2999-01-01T00:00:00Z"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_different_request_with_the_same_key_is_refused(run: Run, other: Any) -> None:
    """I10: otherwise the caller would believe that the second request was accepted."""
    body = {"action": "noop", "payload": {"n": 1}, "sessionId": "s1", "priority": 1, "ttlSeconds": 1}

    answers = [
        ask(run, "commands", "POST", COMMANDS, each, idempotency_key="k")[0] for each in (body, body, {**body, **other})
    ]

    assert answers == [202, 202, 409]


@pytest.mark.usefixtures("agent")
def test_two_operators_with_the_same_key_have_two_commands(run: Run, conn: Connection) -> None:
    """I10: each operator has their own keys."""
    one, other = (
        ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k", role=role)
        for role in (Role.SENDER, Role.ADMIN)
    )

    assert one[1]["commandId"] != other[1]["commandId"]
    assert len(statuses(conn)) == 2


@pytest.mark.usefixtures("agent")
def test_an_idempotency_key_of_a_list_is_refused_for_another_list(run: Run, conn: Connection) -> None:
    """I10: not a shorter or longer list, not another order, and not a single command."""

    def submit(*actions: str) -> int:
        body = [{"agentId": AGENT, "action": action} for action in actions]
        return ask(run, "commands", "POST", LIST, body, idempotency_key="k")[0]

    answers = [submit("n1", "n2"), submit("n1", "n2"), submit("n1"), submit("n1", "n2", "n3"), submit("n2", "n1")]
    single = ask(run, "commands", "POST", COMMANDS, {"action": "n3"}, idempotency_key="k")[0]

    assert answers == [202, 202, 409, 409, 409]
    assert single == 409
    assert len(statuses(conn)) == 2


@pytest.mark.usefixtures("agent")
def test_the_same_time_in_another_zone_is_the_same_request(run: Run) -> None:
    """Both bodies mean the same point in time."""
    bodies = [{"action": "n", "notBefore": moment} for moment in ("2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00")]

    answers = [ask(run, "commands", "POST", COMMANDS, body, idempotency_key="k") for body in bodies]

    assert [status for status, _ in answers] == [202, 202]
    assert answers[0][1]["commandId"] == answers[1][1]["commandId"]
