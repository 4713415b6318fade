"""@connections and Lambda's Invoke, through real boto3 clients."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from websockets.sync.client import connect

from local.apigateway.fault_injection import NO_FAULT, Fault, NoFaults
from tests.integration.local.apigateway.serving import Served, closing, overfill, serving

if TYPE_CHECKING:
    from pathlib import Path


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    """Return the error's type and status."""
    response: dict[str, Any] = {**error.value.response}
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("suffix", ["", "/live"])
def test_a_post_reaches_the_agent(served: Served, suffix: str) -> None:
    """As text if it is text, as bytes if not; with or without the stage in the URL."""
    client = served.client(suffix)
    with connect(served.socket_url(f"posted{suffix}")) as agent:
        identity = served.connection_id(f"posted{suffix}")
        client.post_to_connection(ConnectionId=identity, Data="grüße".encode())
        client.post_to_connection(ConnectionId=identity, Data=b"\xff")

        assert (agent.recv(timeout=5), agent.recv(timeout=5)) == ("grüße", b"\xff")


def test_a_post_inside_connect_is_gone(served: Served) -> None:
    """Until $connect has returned there is no connection, and afterwards there is."""
    with connect(served.socket_url("early", wish="post")) as agent:
        [entry] = served.wait_for("Connect", "early")
        served.client().post_to_connection(ConnectionId=served.connection_id("early"), Data=b"now")

        assert entry["outcome"] == 410
        assert agent.recv(timeout=5) == "now"


def test_a_post_to_nobody_is_gone(served: Served) -> None:
    """Whether the connection never was or has been closed."""
    client = served.client()
    with connect(served.socket_url("closed")):
        identity = served.connection_id("closed")
    served.wait_for("Disconnect", "closed")

    for unknown in (identity, "L0SM9cOFvHcCIhw="):
        with pytest.raises(client.exceptions.GoneException):
            client.post_to_connection(ConnectionId=unknown, Data=b"x")
        with pytest.raises(client.exceptions.GoneException):
            client.get_connection(ConnectionId=unknown)
        with pytest.raises(client.exceptions.GoneException):
            client.delete_connection(ConnectionId=unknown)


def test_a_post_of_128_kb_arrives_and_one_byte_more_is_too_large(served: Served) -> None:
    """The limit is that of a message."""
    client = served.client()
    with connect(served.socket_url("large")) as agent:
        identity = served.connection_id("large")
        client.post_to_connection(ConnectionId=identity, Data=b"x" * 131072)
        received = agent.recv(timeout=5)
        with pytest.raises(client.exceptions.PayloadTooLargeException):
            client.post_to_connection(ConnectionId=identity, Data=b"x" * 131073)

    assert len(received) == 131072


def test_a_client_that_does_not_read_is_a_limit_not_gone(served: Served) -> None:
    """429 says: back off; the connection is still there."""
    client = served.client()
    with connect(served.socket_url("stuck"), max_queue=1) as agent:
        identity = served.connection_id("stuck")

        with pytest.raises(ClientError) as refused:
            overfill(client, identity)

        assert code_of(refused) == ("LimitExceededException", 429)
        assert client.get_connection(ConnectionId=identity)["ConnectedAt"] <= datetime.now(UTC)
        agent.socket.shutdown(socket.SHUT_RDWR)  # a close would wait for what was not read


def test_get_connection_tells_when_it_was_last_active(served: Served) -> None:
    """Messages in and out move LastActiveAt."""
    client = served.client()
    with connect(served.socket_url("asked"), user_agent_header="agent/1") as agent:
        identity = served.connection_id("asked")
        first = client.get_connection(ConnectionId=identity)
        time.sleep(0.01)
        client.post_to_connection(ConnectionId=identity, Data=b"out")
        second = client.get_connection(ConnectionId=identity)
        time.sleep(0.01)
        agent.send("in")
        served.wait_for("Message", "asked")
        third = client.get_connection(ConnectionId=identity)

    assert first["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "agent/1"}
    assert abs((datetime.now(UTC) - first["ConnectedAt"]).total_seconds()) < 10
    assert first["ConnectedAt"] <= first["LastActiveAt"] < second["LastActiveAt"] < third["LastActiveAt"]


def test_delete_connection_closes_normally(served: Served) -> None:
    """The agent sees 1000, and $disconnect is told so."""
    client = served.client()
    with connect(served.socket_url("deleted")) as agent:
        client.delete_connection(ConnectionId=served.connection_id("deleted"))
        code, _ = closing(agent)

    assert code == 1000
    [gone] = served.wait_for("Disconnect", "deleted")
    assert gone["event"]["requestContext"]["disconnectStatusCode"] == 1000
    assert gone["event"]["requestContext"]["disconnectReason"] == "Connection Closed Normally"


def test_a_call_must_be_signed(served: Served) -> None:
    """A page in a browser cannot be made to invoke functions."""
    url = f"{served.url}/2015-03-31/functions/Tick/invocations"

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, data=b"{}")  # noqa: S310 -- our own gateway

    with refused.value:
        assert refused.value.code == 403


def test_invoke_returns_what_the_function_returns(served: Served) -> None:
    """By name or by ARN."""
    for name in ("Http", "arn:aws:lambda:us-east-1:000000000000:function:Http", "Http:$LATEST"):
        answer = served.functions().invoke(FunctionName=name, Payload=json.dumps({"rawPath": "/x"}).encode())
        with answer["Payload"] as payload:
            returned = json.loads(payload.read())

        assert (answer["StatusCode"], "FunctionError" in answer) == (200, False)
        assert json.loads(returned["body"]) == {"rawPath": "/x"}


def test_invoke_tells_a_functions_failure_apart(served: Served) -> None:
    """The call succeeds; the answer says Unhandled, without a stack trace."""
    answer = served.functions().invoke(FunctionName="Http", Payload=b'{"rawPath": "/raise"}')

    with answer["Payload"] as payload:
        returned = json.loads(payload.read())
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert returned == {"errorMessage": "a secret", "errorType": "ValueError"}


def test_an_asynchronous_event_is_tried_three_times_under_one_request_id(served: Served) -> None:
    """It is accepted at once, and retried after a failure."""
    event: dict[str, Any] = {"requestContext": {}, "failures": 2, "name": "thrice"}

    answer = served.functions().invoke(FunctionName="Flaky", InvocationType="Event", Payload=json.dumps(event).encode())

    assert answer["StatusCode"] == 202
    attempts = [entry for entry in served.wait_for("Flaky", count=3) if entry["event"] == event]
    assert len(attempts) == 3
    assert len({entry["request_id"] for entry in attempts}) == 1


def test_a_dry_run_runs_nothing_and_an_unknown_function_is_not_found(served: Served) -> None:
    """The errors are Lambda's."""
    client = served.functions()

    assert client.invoke(FunctionName="Http", InvocationType="DryRun")["StatusCode"] == 204
    for kind in ("Event", "RequestResponse", "DryRun"):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.invoke(FunctionName="Nobody", InvocationType=kind)
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="Http", Payload=b"{")


class Script(NoFaults):
    """Faults in the order in which they are wanted."""

    def __init__(self, **faults: Fault) -> None:
        self.faults = faults

    def on_post(self, connection_id: str, data: bytes) -> Fault:  # noqa: ARG002
        """Choose by what is posted."""
        return self.faults.get(data.decode(), NO_FAULT)

    def on_message(self, connection_id: str, data: bytes) -> Fault:  # noqa: ARG002
        """Choose by what is sent."""
        return self.faults.get(data.decode(), NO_FAULT)

    def on_invoke(self, function: str, event: object) -> Fault:  # noqa: ARG002
        """Double what is meant for Flaky."""
        return Fault(copies=2, delay=0.01) if function == "Flaky" else NO_FAULT


def test_faults_spoil_posts_messages_and_invocations(tmp_path: Path) -> None:
    """Refused, dropped, doubled, answered late: as the hook says."""
    faults = Script(
        limit=Fault(status=429),
        gone=Fault(status=410),
        lost=Fault(copies=0),
        twice=Fault(copies=2),
        late=Fault(answer_after=0.3),
    )
    with serving(tmp_path, faults=faults) as own, connect(own.socket_url("spoiled")) as agent:
        client, identity = own.client(), own.connection_id("spoiled")
        with pytest.raises(ClientError) as limited:
            client.post_to_connection(ConnectionId=identity, Data=b"limit")
        with pytest.raises(client.exceptions.GoneException):
            client.post_to_connection(ConnectionId=identity, Data=b"gone")
        client.post_to_connection(ConnectionId=identity, Data=b"lost")
        client.post_to_connection(ConnectionId=identity, Data=b"twice")
        started = time.monotonic()
        client.post_to_connection(ConnectionId=identity, Data=b"late")
        waited = time.monotonic() - started
        for text in ("lost", "twice"):
            agent.send(text)
        own.functions().invoke(
            FunctionName="Flaky", InvocationType="Event", Payload=b'{"failures": 0, "requestContext": {}}'
        )
        messages = own.wait_for("Message", "spoiled", 2)
        doubled = own.wait_for("Flaky", count=2)

        assert [agent.recv(timeout=5) for _ in range(3)] == ["twice", "twice", "late"]

    assert code_of(limited) == ("LimitExceededException", 429)
    assert waited > 0.3
    assert [message["event"]["body"] for message in messages] == ["twice", "twice"]
    assert len(doubled) == 2
