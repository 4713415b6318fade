"""The gateway's schedules, and how it stops."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.gateway.targets import local_gateway
from tests.integration.local.apigateway.serving import closing, gateway_in_thread, overfill

if TYPE_CHECKING:
    from pathlib import Path

SCHEDULED = """
Parameters: {Gateway: {Type: String}}
Resources:
  Tick:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: .
      Handler: tick.handler
      Events:
        Often: {Type: ScheduleV2, Properties: {ScheduleExpression: rate(1 minute)}}
"""


def test_a_schedule_runs_its_function_again_and_again(tmp_path: Path) -> None:
    """With the scheduler's default event if the template has none."""
    (tmp_path / "template.yaml").write_text(SCHEDULED)
    (tmp_path / "tick.py").write_text("import json\ndef handler(event, context): print(json.dumps(event))")
    lines: list[str] = []

    with gateway_in_thread(
        tmp_path / "template.yaml", log=lambda _name, line: lines.append(line), periods={"Tick": 0.1}
    ):
        deadline = time.monotonic() + 20
        while len(lines) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    event = json.loads(lines[1])
    assert event["source"] == "aws.scheduler"
    assert event["detail-type"] == "Scheduled Event"


def test_a_stop_closes_open_sockets_as_going_away_and_is_quick() -> None:
    """Each of them still gets its $disconnect."""
    with contextlib.ExitStack() as sockets:
        with local_gateway() as own:
            agents = [sockets.enter_context(own.connected(f"agent-{number}"))[0] for number in range(3)]
            began = time.monotonic()
        took = time.monotonic() - began
        codes = [closing(agent) for agent in agents]

    assert codes == [(1001, "Going away")] * 3
    assert len(own.recorded("Disconnect")) == 3
    assert took < 10


def test_a_client_that_does_not_read_does_not_hold_up_a_stop() -> None:
    """Data that it did not read is dropped."""
    with contextlib.ExitStack() as sockets:
        with local_gateway() as own:
            agent, identity = sockets.enter_context(own.connected("stuck", max_queue=1))
            with pytest.raises(ClientError):
                overfill(own, identity)
            began = time.monotonic()
        took = time.monotonic() - began
        agent.socket.shutdown(socket.SHUT_RDWR)

    assert took < 10
