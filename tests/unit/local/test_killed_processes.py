"""A message whose process is killed is handled by another one."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.apigateway import events
from local.apigateway.websocket_api import Connection, Connections
from local.lambda_runtime.fork_server import EXIT_ERROR, Result

DIED = Result.failure(EXIT_ERROR, "signal: killed")
DONE = Result(payload=b'{"statusCode": 200}', failed=False)
RAISED = Result.failure("KeyError", "'x'")


class _Runtime:
    """Answers each event with the next outcome."""

    def __init__(self, outcomes: list[Result]) -> None:
        self.events: list[bytes] = []
        self._outcomes = outcomes
        self.deployment = SimpleNamespace(
            websocket_routes={"$default": "Message"},
            websocket_stage="live",
            websocket_selection="$request.body.type",
            websocket_authorizer=None,
        )

    def start(self, _function: str, event: bytes, done: Any, **_: object) -> None:
        """Hand over the next outcome."""
        self.events.append(event)
        done(self._outcomes.pop(0))


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ([DIED, DONE], False),
        ([DIED, DIED, DONE], False),
        ([DIED, DIED, DIED], True),
        ([RAISED], True),
        ([DONE], False),
    ],
)
def test_a_message_of_a_killed_process_is_handled_again(outcomes: list[Result], *, told: bool) -> None:
    """Agents of protocol 1 say everything once; a function that fails by itself is not called again."""
    count = len(outcomes)
    runtime = _Runtime(outcomes)
    place = events.Place(account="1", region="r", domain="d")
    api = Connections(cast("Any", runtime), place, paths=["/live"], idle_seconds=600, lifetime_seconds=7200)
    answers: list[bytes | None] = []
    connection = cast(
        "Connection",
        SimpleNamespace(
            facts=events.SocketFacts(
                connection_id="c1",
                connected_at=datetime.now(UTC),
                source_ip="127.0.0.1",
                user_agent="",
                stage="live",
                place=place,
            ),
            authorizer=None,
            encoded={},
            answered=answers.append,
        ),
    )

    api.handle_message(connection, '{"type": "reports"}')

    assert len(runtime.events) == count
    assert len(set(runtime.events)) == 1  # the same request id: what is kept twice is settled once
    assert [answer is not None for answer in answers] == [told]
