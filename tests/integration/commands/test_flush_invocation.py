"""Invoking flush: asynchronous, and a failure must not refuse the agent's handshake."""

import json
import socket
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
    """Credentials as Lambda gives them to a function, and a client for this test only."""
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
    """Return the logged reasons why flush was not invoked."""
    return [vars(record)["reason"] for record in caplog.records if record.getMessage() == "Flush not invoked"]


@mock_aws()
def test_a_missing_flush_function_is_logged_and_raises_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """The sweep delivers instead."""
    invoke_flush(FlushRequest(agent_id="a1", connection_id="c1", epoch=1))

    assert refusals(caplog) == ["ResourceNotFoundException"]


@mock_aws(config={"lambda": {"use_docker": False}})
def test_flush_is_invoked_asynchronously_with_its_event(caplog: pytest.LogCaptureFixture) -> None:
    """202 is Lambda's answer to an asynchronous invocation; a synchronous one would delay the handshake."""
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
    request = FlushRequest(agent_id="a1", connection_id="c1", epoch=1)

    invoke_flush(request)

    assert refusals(caplog) == []
    assert answers == [(202, json.dumps(request.as_event()).encode())]  # moto's function answers with its event


def test_a_lambda_api_that_does_not_answer_is_tried_only_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent waits 10 s for its handshake, so the timeouts are short and there is no retry."""
    assert INVOKE_CONNECT_SECONDS + INVOKE_READ_SECONDS <= 3
    monkeypatch.setattr(flush, "INVOKE_READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", f"http://127.0.0.1:{silent.getsockname()[1]}")

        invoke_flush(FlushRequest(agent_id="a1", connection_id="c1", epoch=1))

        silent.settimeout(0)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert refusals(caplog) == ["ReadTimeoutError"]
