"""Runs a deployment's functions as Lambda does: a process each, one event at a time, more processes on demand."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from local.credentials import Credentials
from local.lambda_runtime.fork_server import PRELOADED, ForkServer, Result, WorkerSpec
from local.lambda_runtime.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from local.sam_template.resources import Deployment, Function

__all__ = ["Result", "Runtime", "UnknownFunctionError"]

_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")  # variables of this process that every process needs
_CLOSED = Result.failure("Runtime.Closed", "The runtime is closed")


class UnknownFunctionError(LookupError):
    """The deployment has no function of this name."""


class Runtime:
    """The execution environments of all functions.  Use it inside a running event loop, and close it at the end.

    `gateway_url` is where functions reach the APIs of Lambda and SQS, with the key `credentials`, `environment` overrides the
    template's variables, `log(function, line)` gets every line that a function prints, `concurrency` is the most
    processes that one function gets (further events wait), `idle_seconds` how long a process stays without an event,
    `retry_delays` the seconds before each retry of an asynchronous invocation, `preload` what is imported once for all.
    """

    def __init__(
        self,
        deployment: Deployment,
        *,
        gateway_url: str,
        log: Callable[[str, str], None],
        environment: Mapping[str, str] | None = None,
        concurrency: int = 8,
        idle_seconds: float = 300.0,
        retry_delays: Sequence[float] = (0.5, 1.0),
        preload: Sequence[str] = PRELOADED,
    ) -> None:
        self.deployment = deployment
        self.credentials = Credentials.generate()
        self._retry_delays = retry_delays
        self._log = log
        self._closed = False
        specs = {
            name: _spec(
                deployment,
                function,
                gateway_url=gateway_url,
                overrides={**self.credentials.environment(), **(environment or {})},
            )
            for name, function in deployment.functions.items()
        }
        self._server = ForkServer(
            environment=_shared([spec.environment for spec in specs.values()]),
            layers=list(dict.fromkeys(str(layer) for each in deployment.functions.values() for layer in each.layers)),
            modules=preload,
        )
        self._pools = {
            name: Pool(function, specs[name], server=self._server, limit=concurrency, log=partial(log, name))
            for name, function in deployment.functions.items()
        }
        self._running: set[asyncio.Task[Any]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        _start(self._background, self._end_idle(idle_seconds))

    def function(self, name: str) -> Function:
        """Return a function of the deployment; raise UnknownFunctionError if there is none of this name."""
        return self._pool(name).function

    async def invoke(self, name: str, event: object, *, request_id: str | None = None) -> Result:
        """Run a function on an event and return its outcome; a failure of the function is an outcome, not an exception.

        Waits for a free process if the function may have no more.  If the caller is cancelled, the function runs on,
        as Lambda does.
        """
        pool = self._pool(name)
        if self._closed:
            return _CLOSED
        run = _run(pool, json.dumps(event).encode(), request_id or str(uuid.uuid4()))
        return await asyncio.shield(_start(self._running, run))

    def invoke_async(self, name: str, event: object) -> str:
        """Accept an event, run the function on it later, again if it fails; return the request's id."""
        pool = self._pool(name)
        request_id = str(uuid.uuid4())
        _start(self._background, self._invoke_with_retries(pool.function, event, request_id))
        return request_id

    async def close(self, *, patience: float = 1.0) -> None:
        """End all processes; running events have `patience` seconds, waiting retries are dropped."""
        self._closed = True
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=patience)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for pool in self._pools.values():
            pool.end_idle()
        await self._server.close(patience=0.5)

    def _pool(self, name: str) -> Pool:
        try:
            return self._pools[name]
        except KeyError:
            raise UnknownFunctionError(name) from None

    async def _invoke_with_retries(self, function: Function, event: object, request_id: str) -> None:
        delays = [*self._retry_delays[: function.retries], None]
        for delay in delays:
            result = await self.invoke(function.name, event, request_id=request_id)
            if not result.failed:
                return
            if delay is not None:
                await asyncio.sleep(delay)
        self._log(
            function.name, f"RequestId: {request_id} Error: asynchronous event dropped after {len(delays)} attempts"
        )

    async def _end_idle(self, idle_seconds: float) -> None:
        while True:
            await asyncio.sleep(idle_seconds / 4)
            for pool in self._pools.values():
                pool.end_idle(time.monotonic() - idle_seconds)


def _start(tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task, and keep it in `tasks` until it is done."""
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def _run(pool: Pool, event: bytes, request_id: str) -> Result:
    try:
        return await pool.run(event, request_id)
    except asyncio.CancelledError:
        return _CLOSED


def _spec(deployment: Deployment, function: Function, *, gateway_url: str, overrides: Mapping[str, str]) -> WorkerSpec:
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
    return WorkerSpec(
        handler=function.handler,
        path=[str(function.code), *map(str, function.layers)],
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
