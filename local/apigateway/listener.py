"""One port that is API Gateway, Lambda's API and the scheduler for the functions of one deployment."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from local.apigateway import events
from local.apigateway.asgi import Receive, Scope, Send, respond_json
from local.apigateway.aws_api import MESSAGE_LIMIT, Control
from local.apigateway.fault_injection import Faults, NoFaults
from local.apigateway.http_api import HttpApi
from local.apigateway.websocket_api import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping

    from local.lambda_runtime.runtime import Runtime
    from local.sam_template.resources import Deployment, Schedule

FRAME_LIMIT = 32 * 1024  # bytes
_GOODBYE_SECONDS = 1.5  # for the closes, and for $disconnect of each connection


class Gateway:
    """Serves a deployment.

    `periods` replaces the seconds between a function's scheduled invocations, `idle_seconds` and `lifetime_seconds` are
    what a WebSocket is granted, `websocket_path` is where agents connect beside `/<stage>`, `faults` may spoil what passes
    through.
    The runtime is the caller's to close, after serve() has returned.
    """

    def __init__(
        self,
        deployment: Deployment,
        runtime: Runtime,
        *,
        periods: Mapping[str, float] | None = None,
        idle_seconds: float = 600.0,
        lifetime_seconds: float = 7200.0,
        websocket_path: str = "/api/v1/agents/connect",
        faults: Faults | None = None,
    ) -> None:
        self._deployment = deployment
        self._runtime = runtime
        self._periods = periods or {}
        self._idle_seconds = idle_seconds
        self._lifetime_seconds = lifetime_seconds
        self._websocket_paths = (websocket_path, f"/{deployment.websocket_stage}")
        self._faults = faults or NoFaults()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make serve() return; call it in the event loop."""
        self._stopping.set()

    async def serve(
        self, *, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[], object] = lambda: None
    ) -> None:
        """Serve until stop() is called or the task is cancelled; call `ready` once requests are answered.

        Raises OSError (EADDRINUSE) if the port is taken.  Closes open sockets with 1001 and ends within three seconds.
        """
        listener = socket.create_server((host, port), backlog=2048)
        place = events.Place(
            region=self._deployment.region,
            account=self._deployment.account,
            domain=f"{host}:{listener.getsockname()[1]}",
        )
        connections = self._connections(place)
        control = Control(connections, self._runtime, self._faults)
        http_api = HttpApi(self._deployment, self._runtime, place)
        app = _App(http_api, connections, control, self._websocket_paths)
        started = asyncio.Event()
        server = _Server(_config(app), started)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        schedules: list[asyncio.Task[None]] = []
        try:
            await _first(serving, started.wait())
            ready()
            schedules += [
                asyncio.create_task(self._run(schedule, control, place)) for schedule in self._deployment.schedules
            ]
            await _first(serving, self._stopping.wait())
        finally:
            for task in schedules:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connections.close_all(), _GOODBYE_SECONDS)
            control.close()
            server.should_exit = True
            await serving

    def _connections(self, place: events.Place) -> Connections:
        return Connections(
            self._deployment,
            self._runtime,
            place,
            self._faults,
            idle_seconds=self._idle_seconds,
            lifetime_seconds=self._lifetime_seconds,
        )

    async def _run(self, schedule: Schedule, control: Control, place: events.Place) -> None:
        """Invoke a schedule's function now and then every so often, whether or not the last run has ended."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await control.invoke_async(schedule.function, events.schedule_event(schedule, place))
            due += self._periods.get(schedule.function, schedule.seconds)
            await asyncio.sleep(max(0.0, due - loop.time()))


class _App:
    """Leads each request to the API that it is for."""

    def __init__(
        self, http_api: HttpApi, connections: Connections, control: Control, websocket_paths: tuple[str, ...]
    ) -> None:
        self._http_api = http_api
        self._connections = connections
        self._control = control
        self._websocket_paths = websocket_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = re.sub("^/+", "/", scope["path"])
        if scope["type"] == "websocket":
            if path in self._websocket_paths:
                await self._connections(scope, receive, send)
            else:
                await respond_json(send, 403, {"message": "Forbidden"}, prefix="websocket.http")
        elif self._control.owns(path):
            await self._control(scope, receive, send)
        else:
            await self._http_api(scope, receive, send)


class _Server(uvicorn.Server):
    """A uvicorn that tells when it has started, and leaves signals to its caller."""

    def __init__(self, config: uvicorn.Config, started: asyncio.Event) -> None:
        super().__init__(config)
        self._started_event = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._started_event.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and drop the connections whose clients do not read what they are still sent."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no handlers."""
        yield


def _config(app: _App) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", app),  # uvicorn's own types for ASGI are private
        ws="websockets-sansio",
        # uvicorn passes this on to websockets, which takes limits for a message and for a frame.
        ws_max_size=cast("int", (MESSAGE_LIMIT, FRAME_LIMIT)),
        ws_ping_interval=None,  # API Gateway sends no pings
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


async def _first(serving: asyncio.Task[None], event: Coroutine[Any, Any, object]) -> None:
    """Wait for an event, but no longer than the server runs."""
    waiting = asyncio.create_task(event)
    try:
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if serving.done():
        serving.result()
        raise RuntimeError("the server ended by itself")
