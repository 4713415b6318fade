"""Functions run as on Lambda: processes, environment, events, logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.integration.local.lambda_runtime.example_functions import Running, run, until

if TYPE_CHECKING:
    from pathlib import Path


def test_a_process_serves_one_event_after_another(tmp_path: Path) -> None:
    """It stays warm, and its module is loaded once."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()

        assert (await running.act("pid")).json() == [pid, 2]

    run(tmp_path, test)


def test_concurrent_events_get_processes_of_their_own_up_to_the_limit(tmp_path: Path) -> None:
    """Further events wait."""

    async def test(running: Running) -> None:
        results = await asyncio.gather(*(running.act("sleep", seconds=0.3) for _ in range(6)))

        assert len({result.json() for result in results}) == 3

    run(tmp_path, test, concurrency=3)


def test_an_idle_process_is_ended(tmp_path: Path) -> None:
    """The next event gets a new one."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        await until(lambda: not psutil.pid_exists(pid))

        assert (await running.act("pid")).json()[1] == 1

    run(tmp_path, test, idle_seconds=0.2)


def test_a_function_sees_only_lambdas_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template's variables, the caller's overrides, Lambda's own; no secrets and no profiles of a developer."""
    monkeypatch.setenv("SECRET_OF_A_DEVELOPER", "x")

    async def test(running: Running) -> None:
        environment = (await running.act("environment")).json()

        assert "SECRET_OF_A_DEVELOPER" not in environment
        assert {name: environment[name] for name in expected} == expected
        assert environment["AWS_ACCESS_KEY_ID"] == running.runtime.credentials.key_id

    expected = {
        "OWN": "template",
        "OTHER": "override",
        "AWS_LAMBDA_FUNCTION_NAME": "Act",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_LAMBDA": "http://gateway",
        "AWS_ENDPOINT_URL_SQS": "http://gateway/sqs",
    }
    run(tmp_path, test)


def test_the_context_is_lambdas(tmp_path: Path) -> None:
    """With a deadline that is the function's timeout away; layers can be imported."""

    async def test(running: Running) -> None:
        context = (await running.act("context")).json()

        assert 0 < context.pop("remaining") <= 2000
        assert len(context.pop("aws_request_id")) == 36
        assert context.pop("log_stream_name")
        assert context.pop("deadline")
        assert context == {
            "function_name": "Act",
            "function_version": "$LATEST",
            "invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:Act",
            "memory_limit_in_mb": "256",
            "log_group_name": "/aws/lambda/Act",
            "identity": None,
            "client_context": None,
        }
        assert (await running.act("layer")).json() == "layered"

    run(tmp_path, test)


def test_events_and_answers_pass_through_json(tmp_path: Path) -> None:
    """A value that JSON cannot express is an error of the function; a Decimal becomes a number, a lone surrogate is kept."""

    async def test(running: Running) -> None:
        assert (await running.act("decimal")).json() == 1.5
        assert (await running.act("surrogate")).json() == "\ud800"
        assert (await running.act("echo", text="x\n" * 1_500_000)).json()["text"] == "x\n" * 1_500_000
        failed = await running.act("set")
        assert failed.failed
        assert failed.json()["errorType"] == "Runtime.MarshalError"
        assert failed.object() is None

    run(tmp_path, test)


def test_every_line_that_was_printed_is_logged(tmp_path: Path) -> None:
    """In order, also the last one, which has no line break."""

    async def test(running: Running) -> None:
        assert not (await running.act("noise")).failed

    lines = run(tmp_path, test)

    assert lines[:-1] == [("Act", f"line {number}") for number in range(2000)]
    assert lines[-1] == ("Act", "on standard error, without an end")


def test_a_function_runs_on_after_its_caller_is_cancelled(tmp_path: Path) -> None:
    """Its process takes the next event when it is done."""

    async def test(running: Running) -> None:
        pid, _ = (await running.act("pid")).json()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.act("sleep", seconds=0.3), 0.05)

        assert (await running.act("pid")).json() == [pid, 3]

    run(tmp_path, test, concurrency=1)


def test_an_asynchronous_event_is_dropped_after_three_attempts(tmp_path: Path) -> None:
    """All attempts have the same request id, and the drop is logged."""

    async def test(running: Running) -> None:
        request_id = running.runtime.invoke_async("Act", {"act": "raise_id"})
        dropped = ("Act", f"RequestId: {request_id} Error: asynchronous event dropped after 3 attempts")

        await until(lambda: dropped in running.lines)
        await until(lambda: running.lines.count(("Act", f"[ERROR] LookupError: {request_id}")) == 3)

    run(tmp_path, test, retry_delays=(0.02, 0.02))
