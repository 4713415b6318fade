"""@connections and Lambda's Invoke: what the conformance tests do not test."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError

from tests.gateway.targets import LOCAL
from tests.integration.local.apigateway.serving import overfill

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway.targets import Target


@pytest.mark.parametrize("stage", ["", "/live"])
def test_a_post_reaches_the_agent_with_or_without_the_stage_in_the_url(served: Target, stage: str) -> None:
    """Bytes that are not UTF-8 arrive as bytes."""
    client = served.connections_at(stage)
    with served.connected(f"posted{stage.strip('/')}") as (agent, identity):
        client.post_to_connection(ConnectionId=identity, Data=b"\xff")

        assert agent.recv(timeout=10) == b"\xff"


def test_a_post_to_a_client_that_does_not_read_gets_429_and_not_410(served: Target) -> None:
    """429 means that the caller should try later; the connection still exists."""
    with served.connected("stuck", max_queue=1) as (agent, identity):
        with pytest.raises(ClientError) as refused:
            overfill(served, identity)
        found = served.connections.get_connection(ConnectionId=identity)
        agent.socket.shutdown(socket.SHUT_RDWR)  # a close would wait for unread data

    response: dict[str, Any] = {**refused.value.response}
    assert response["Error"]["Code"] == "LimitExceededException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_messages_in_and_out_move_last_active_at(served: Target) -> None:
    """The moment is exact to the millisecond."""

    def last_active() -> Any:
        return served.connections.get_connection(ConnectionId=identity)["LastActiveAt"]

    with served.connected("active") as (agent, identity):
        first = last_active()
        served.until(
            lambda: served.connections.post_to_connection(ConnectionId=identity, Data=b"x") and last_active() > first
        )
        second = last_active()
        agent.send("in")
        served.until(lambda: last_active() > second)


@pytest.mark.parametrize("signature", [None, "AWS4-HMAC-SHA256 nothing"])
@pytest.mark.parametrize("path", ["/2015-03-31/functions/Later/invocations", "/@connections/any", "/sqs"])
def test_a_call_must_be_signed(served: Target, path: str, signature: str | None) -> None:
    """Otherwise any process, and any page in a browser, could invoke functions."""
    headers = {"authorization": signature} if signature else {}

    answer = urllib3.request("POST", served.http + path, body=b"{}", headers=headers)

    assert answer.status == 403
    assert answer.headers["x-amzn-errortype"] in {"MissingAuthenticationTokenException", "IncompleteSignatureException"}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ({"aws_access_key_id": "local"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "local"}, "InvalidSignatureException"),
    ],
)
def test_a_call_must_be_signed_with_the_key_of_this_run(served: Target, key: dict[str, str], kind: str) -> None:
    """No function runs, no message is posted."""
    options: dict[str, Any] = {**LOCAL, **served.key, **key, "endpoint_url": served.http}
    with served.connected("forged") as (_agent, identity):
        functions, connections = boto3.client("lambda", **options), boto3.client("apigatewaymanagementapi", **options)
        calls: list[Callable[[], Any]] = [
            lambda: functions.invoke(FunctionName="Later", Payload=b"{}"),
            lambda: connections.post_to_connection(ConnectionId=identity, Data=b"forged"),
        ]
        for call in calls:
            with pytest.raises(ClientError) as refused:
                call()
            response: dict[str, Any] = {**refused.value.response}
            assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
            assert response["Error"]["Code"] == kind


@pytest.mark.parametrize("name", ["Later", "arn:aws:lambda:us-east-1:000000000000:function:Later", "Later:$LATEST"])
def test_a_function_is_invoked_by_any_of_its_names(served: Target, name: str) -> None:
    """A plain name, an ARN, a name with a qualifier."""
    answer = served.functions.invoke(FunctionName=name, Payload=b'{"a": 1}')

    with answer["Payload"] as payload:
        assert json.loads(payload.read()) == {"given": {"a": 1}}


def test_a_dry_run_runs_nothing(served: Target) -> None:
    """An unknown function is not found, and an event must be JSON."""
    client = served.functions

    assert client.invoke(FunctionName="Later", InvocationType="DryRun")["StatusCode"] == 204
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="Nobody", InvocationType="DryRun")
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="Later", Payload=b"{")
