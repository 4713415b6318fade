"""Handing over to flush: an asynchronous invocation, whose failure must not cost an agent its handshake."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws

from dispatcher.commands import flush
from dispatcher.commands.flush import INVOKE_CONNECT_SECONDS, INVOKE_READ_SECONDS, FlushRequest, invoke_flush


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Lambda gives a function, and a client that knows nothing of another test's."""
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "FLUSH_FUNCTION": "acd-flush",
    }.items():
        monkeypatch.setenv(name, value)
    flush._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    yield
    flush._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return why flush was not invoked, as the log says."""
    return [vars(record)["reason"] for record in caplog.records if record.getMessage() == "Flush not invoked"]


@mock_aws()
def test_a_flush_that_is_not_there_is_said_and_the_agent_is_connected_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As moto plays Lambda; the sweep delivers what flush did not."""
    invoke_flush(FlushRequest(agent_id="a1", connection_id="c1", epoch=1))

    assert refusals(caplog) == ["ResourceNotFoundException"]


@mock_aws(config={"lambda": {"use_docker": False}})
def test_a_flush_that_is_there_takes_the_event_and_nobody_waits_until_it_has_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """202, Lambda's answer to an asynchronous invocation; a synchronous one would hold the handshake up."""
    iam = boto3.client("iam")
    role = iam.create_role(RoleName="flush", AssumeRolePolicyDocument=json.dumps({"Statement": []}))["Role"]["Arn"]
    boto3.client("lambda").create_function(
        FunctionName="acd-flush",
        Role=role,
        Code={"ZipFile": b"any"},
        Runtime="python3.13",
        Handler="app.handler",
    )
    answers: list[tuple[int, bytes]] = []

    def note(http_response: AWSResponse, parsed: dict[str, Any], **_: object) -> None:
        answers.append((http_response.status_code, parsed["Payload"].read()))

    flush._lambda_client().meta.events.register(  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        "after-call.lambda.Invoke", note
    )
    to_flush = FlushRequest(agent_id="a1", connection_id="c1", epoch=1)

    invoke_flush(to_flush)

    assert refusals(caplog) == []
    assert answers == [(202, json.dumps(to_flush.as_event()).encode())]  # moto's function answers with its event


def test_a_lambda_api_that_is_silent_is_given_up_on_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried twice for seven seconds each, with an agent waiting that gives up after ten."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()

        invoke_flush(FlushRequest(agent_id="a1", connection_id="c1", epoch=1))

        assert time.monotonic() - began < INVOKE_CONNECT_SECONDS + INVOKE_READ_SECONDS + 1.5
