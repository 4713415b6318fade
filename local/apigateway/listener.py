"""One port that is API Gateway, Lambda's API and the scheduler for the functions of one deployment."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from starlette.requests import ClientDisconnect, Request

from local.apigateway import events
from local.apigateway.aws_api import MESSAGE_LIMIT, AwsApi
from local.apigateway.http_api import HttpApi
from local.apigateway.incoming import refusal
from local.apigateway.known_hosts import KnownHosts
from local.apigateway.queues import Queues
from local.apigateway.websocket_api import Connections

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Mapping, Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    from local.lambda_runtime.runtime import Runtime
    from local.sam_template.resources import Schedule

FRAME_LIMIT = 32 * 1024  # bytes
_CLOSE_SECONDS = 1.5  # for closing the sockets, and for $disconnect of each connection


class Gateway:
    """Serves the deployment of a runtime.

    `periods` replaces the seconds between a function's scheduled invocations, `idle_seconds` and `lifetime_seconds` are
    how long a WebSocket stays open, `websocket_path` is where agents connect beside `/<stage>`, `queues` are the queues
    of the deployment (in memory, if None is given), `hosts` further names under which clients may reach it.
    The caller closes the runtime after serve() has returned.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        periods: Mapping[str, float] | None = None,
        idle_seconds: float = 600.0,
        lifetime_seconds: float = 7200.0,
        websocket_path: str = "/api/v1/agents/connect",
        queues: Queues | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        self._deployment = runtime.deployment
        self._runtime = runtime
        self._periods = periods or {}
        self._idle_seconds = idle_seconds
        self._lifetime_seconds = lifetime_seconds
        self._websocket_paths = (websocket_path, f"/{runtime.deployment.websocket_stage}")
        self._queues = queues or Queues(runtime)
        self._hosts = hosts
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Make serve() return; call it in the event loop."""
        self._stopping.set()

    async def serve(self, listener: socket.socket, *, ready: Callable[[], object] = lambda: None) -> None:
        """Serve on a listening socket until stop() is called or the task is cancelled; call `ready` once it serves.

        Closes open WebSockets with 1001, then the listening socket, and ends within three seconds.
        """
        host, port = listener.getsockname()
        place = events.Place(region=self._deployment.region, account=self._deployment.account, domain=f"{host}:{port}")
        connections = Connections(
            self._runtime,
            place,
            idle_seconds=self._idle_seconds,
            lifetime_seconds=self._lifetime_seconds,
        )
        http_api = HttpApi(self._runtime, place)
        app = _app(http_api, connections, AwsApi(connections, self._runtime, self._queues), self._websocket_paths)
        server = _Server(_config(KnownHosts(app, {host, *self._hosts})))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        stopping = asyncio.create_task(self._stopping.wait())
        tasks: list[asyncio.Task[Any]] = [stopping]
        try:
            started = asyncio.create_task(server.has_started.wait())
            tasks.append(started)
            await asyncio.wait([serving, started], return_when=asyncio.FIRST_COMPLETED)
            if started.done():
                ready()
                tasks += [asyncio.create_task(self._run(schedule, place)) for schedule in self._deployment.schedules]
                tasks.append(asyncio.create_task(self._queues.run()))
                await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                raise RuntimeError("the server ended by itself") from serving.exception()
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connections.close_all(), _CLOSE_SECONDS)
            server.should_exit = True
            await serving

    async def _run(self, schedule: Schedule, place: events.Place) -> None:
        """Invoke a schedule's function now and then periodically, whether or not the last run has ended."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._runtime.invoke_async(schedule.function, events.schedule_event(schedule, place))
            due += self._periods.get(schedule.function, schedule.seconds)
            await asyncio.sleep(max(0.0, due - loop.time()))


def _app(http_api: HttpApi, connections: Connections, aws_api: AwsApi, websocket_paths: Sequence[str]) -> ASGIApp:
    """Return the ASGI application that passes each request to its API."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # Agents append a path to their base URL, which may end with a slash: repeated ones at the start count as one.
        scope["path"] = re.sub("^/+", "/", scope["path"])
        scope["raw_path"] = re.sub(b"^/+", b"/", scope["raw_path"])
        if scope["type"] == "websocket" and scope["path"] in websocket_paths:
            await connections.handle(scope, receive, send)
        elif scope["type"] == "websocket":
            await refusal(403, "Forbidden")(scope, receive, send)
        else:
            api = aws_api if aws_api.owns(scope["path"]) else http_api
            with contextlib.suppress(ClientDisconnect):
                response = await api.answer(Request(scope, receive))
                await response(scope, receive, send)

    return answer


class _Server(uvicorn.Server):
    """A uvicorn server that reports when it has started, and leaves signals to its caller."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.has_started = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report it."""
        await super().startup(sockets)
        self.has_started.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and drop the connections whose clients do not read their last data."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no handlers."""
        yield


def _config(app: ASGIApp) -> uvicorn.Config:
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
