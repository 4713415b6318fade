"""Runs a deployment's functions as Lambda does: one event at a time in a process, more processes on demand."""

from __future__ import annotations

import asyncio
import math
import os
import time
import uuid
from itertools import count
from typing import TYPE_CHECKING

import orjson

from local.credentials import Credentials
from local.lambda_runtime.fork_server import ForkServer, FunctionSpec, Result
from local.lambda_runtime.pool import WAITED_TOO_LONG, Call, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.sam_template.resources import Deployment, Function

__all__ = ["WAITED_TOO_LONG", "Result", "Runtime", "UnknownFunctionError"]

_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")  # variables of this process that every process needs
_PER_CORE = 2  # processes that stay: one may wait for the database while the other computes


class UnknownFunctionError(LookupError):
    """The deployment has no function of this name."""


class Runtime:
    """The processes that run all functions.  Use it inside a running event loop, and close it at the end.

    `gateway_url` is where functions reach the APIs of Lambda and SQS, with the key `credentials`, `environment` overrides the
    template's variables, `log(function, line)` gets every line that a function prints, `concurrency` is the most
    processes in all (further events wait), `idle_seconds` how long a process stays without an event, `retry_delays` the
    seconds before each retry of an asynchronous invocation, `preload` what is imported once for all, beside the layers.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        gateway_url: str,
        log: Callable[[str, str], None],
        environment: Mapping[str, str] | None = None,
        concurrency: int = 64,
        idle_seconds: float = 90.0,  # longer than the pause between two sweeps, which keep a process or two
        retry_delays: Sequence[float] = (0.5, 1.0),
        preload: Sequence[str] = (),
    ) -> None:
        self.deployment = deployment
        self.credentials = Credentials.generate()
        self._retry_delays = retry_delays
        self._log = log
        self._closed = False
        self._numbers = count(1)
        self._ids = str(uuid.uuid4())[:-12]
        self._indexes = {name: index for index, name in enumerate(deployment.functions)}
        overrides = {**self.credentials.environment(), **(environment or {})}
        specs = [
            _spec(deployment, function, gateway_url=gateway_url, overrides=overrides)
            for function in deployment.functions.values()
        ]
        self._server = ForkServer(
            environment=_shared([spec.environment for spec in specs]),
            layers=list(dict.fromkeys(str(layer) for each in deployment.functions.values() for layer in each.layers)),
            modules=preload,
            functions=specs,
        )
        self._pool = Pool(
            self._server,
            limit=concurrency,
            kept=_PER_CORE * (os.cpu_count() or 1),
            idle_seconds=idle_seconds,
            log=log,
        )

    def function(self, name: str) -> Function:
        """Return a function of the deployment; raise UnknownFunctionError if there is none of this name."""
        try:
            return self.deployment.functions[name]
        except KeyError:
            raise UnknownFunctionError(name) from None

    async def invoke(self, name: str, event: object, *, patience: float = math.inf) -> Result:
        """Run a function on an event and return its outcome; a failure of the function is an outcome, not an exception.

        The event is a value, or JSON as bytes.  Waits for a free process if there may be no more.  If the caller is
        cancelled, the function runs on, as Lambda does; `patience` is as for start().
        """
        outcome: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.start(name, _encoded(event), lambda result: _set(outcome, result), patience=patience)
        return await outcome

    def start(self, name: str, event: bytes, done: Callable[[Result], None], *, patience: float = math.inf) -> None:
        """Run a function on an event, which is JSON, and call `done` once with the outcome, without a task.

        Once the function has run for `patience` seconds the outcome is WAITED_TOO_LONG, and the function runs on.
        """
        function = self.function(name)
        self._pool.start(Call(function, self._indexes[name], event, self._request_id(), done, patience=patience))

    def invoke_async(self, name: str, event: object) -> str:
        """Accept an event, run the function on it later, again if it fails; return the request's id."""
        function = self.function(name)
        request_id = self._request_id()
        self._attempt(function, _encoded(event), request_id, [*self._retry_delays[: function.retries]])
        return request_id

    def end_idle(self) -> None:
        """End the processes that have no event, with all that they keep: the next events get new ones."""
        self._pool.end_idle()

    async def close(self, *, patience: float = 1.0) -> None:
        """End all processes; running events have `patience` seconds, waiting events and retries are dropped."""
        self._closed = True
        await self._pool.close(patience=patience)
        await self._server.close(patience=0.5)

    def _request_id(self) -> str:
        """Return an id like Lambda's: random for each run, then counted, because nothing depends on a guess of it."""
        return f"{self._ids}{next(self._numbers):012x}"

    def _attempt(self, function: Function, event: bytes, request_id: str, delays: Sequence[float]) -> None:
        def done(result: Result) -> None:
            if not result.failed or self._closed:
                return
            if delays:
                again = (function, event, request_id, delays[1:])
                asyncio.get_running_loop().call_later(delays[0], self._attempt, *again)
            else:
                attempts = len(self._retry_delays[: function.retries]) + 1
                self._log(
                    function.name,
                    f"RequestId: {request_id} Error: asynchronous event dropped after {attempts} attempts",
                )

        if not self._closed:
            self._pool.start(Call(function, self._indexes[function.name], event, request_id, done, background=True))


def _encoded(event: object) -> bytes:
    return event if isinstance(event, bytes) else orjson.dumps(event)


def _set(outcome: asyncio.Future[Result], result: Result) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _spec(
    deployment: Deployment, function: Function, *, gateway_url: str, overrides: Mapping[str, str]
) -> FunctionSpec:
    group = f"/aws/lambda/{function.name}"
    stream = time.strftime("%Y/%m/%d/[$LATEST]", time.gmtime()) + uuid.uuid4().hex
    arn = f"arn:aws:lambda:{deployment.region}:{deployment.account}:function:{function.name}"
    lambda_variables = {
        "AWS_CONFIG_FILE": os.devnull,  # functions do not see a developer's own settings
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_REGION": deployment.region,
        "AWS_DEFAULT_REGION": deployment.region,
        "AWS_ENDPOINT_URL_LAMBDA": gateway_url,
        "AWS_ENDPOINT_URL_SQS": f"{gateway_url}/sqs",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "LAMBDA_TASK_ROOT": str(function.code),
        "TZ": ":UTC",
        "_HANDLER": function.handler,
    }
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return FunctionSpec(
        name=function.name,
        handler=function.handler,
        code=str(function.code),
        environment={**inherited, **lambda_variables, **function.environment, **overrides},
        context={
            "function_name": function.name,
            "memory_limit_in_mb": str(function.memory),
            "invoked_function_arn": arn,
            "log_group_name": group,
            "log_stream_name": stream,
        },
    )


def _shared(environments: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the variables that all functions have in common; a module of the layer may read them when it is imported."""
    first, *others = environments or [{}]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
