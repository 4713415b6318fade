"""One port that is API Gateway, Lambda's API and the scheduler for the functions of one deployment."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from local import metrics
from local.apigateway import events
from local.apigateway.aws_api import AwsApi
from local.apigateway.http_api import HttpApi
from local.apigateway.http_messages import Response
from local.apigateway.http_server import HEAD_SECONDS, KEPT_SECONDS, Server
from local.apigateway.known_hosts import KnownHosts
from local.apigateway.queues import Queues
from local.apigateway.websocket_api import Connections

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from local.apigateway.http_messages import Request
    from local.lambda_runtime.runtime import Runtime
    from local.metrics import Metrics
    from local.sam_template.resources import Schedule

_CLOSE_SECONDS = 1.5  # for closing the sockets, and for $disconnect of each connection
_BACKLOG = 2048  # clients that may wait to be accepted: all agents may reconnect at the same moment


class Gateway:
    """Serves the deployment of a runtime.

    `periods` replaces the seconds between a function's scheduled invocations, `idle_seconds` and `lifetime_seconds` are
    how long a WebSocket stays open, `head_seconds` is how long a client may take to send a request's head, `kept_seconds`
    how long a connection stays open without a request, `websocket_path` is where agents connect beside `/<stage>`, `queues`
    are the queues of the deployment (in memory, if None is given), `hosts` further names under which clients may reach it,
    `metrics` what it serves at /metrics.
    The caller closes the runtime after serve() has returned.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        periods: Mapping[str, float] | None = None,
        idle_seconds: float = 600.0,
        lifetime_seconds: float = 7200.0,
        head_seconds: float = HEAD_SECONDS,
        kept_seconds: float = KEPT_SECONDS,
        websocket_path: str = "/api/v1/agents/connect",
        queues: Queues | None = None,
        hosts: Sequence[str] = (),
        metrics: Metrics | None = None,
    ) -> None:
        self._deployment = runtime.deployment
        self._runtime = runtime
        self._periods = periods or {}
        self._idle_seconds = idle_seconds
        self._lifetime_seconds = lifetime_seconds
        self._head_seconds = head_seconds
        self._kept_seconds = kept_seconds
        self._websocket_paths = (websocket_path, f"/{runtime.deployment.websocket_stage}")
        self._queues = queues or Queues(runtime)
        self._hosts = hosts
        self._metrics = metrics
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
            paths=self._websocket_paths,
            idle_seconds=self._idle_seconds,
            lifetime_seconds=self._lifetime_seconds,
        )
        hosts = KnownHosts({host, *self._hosts})
        http_api = HttpApi(self._runtime, place)
        aws_api = AwsApi(connections, self._runtime, self._queues)

        def answer(request: Request, done: Callable[[Response], None]) -> None:
            refused = hosts.refusal_of(request)
            if refused is not None:
                done(refused)
            elif self._metrics is not None and request.path == metrics.PATH:
                done(Response(headers=[("content-type", metrics.CONTENT_TYPE)], body=self._metrics.text()))
            else:
                (aws_api if aws_api.owns(request.path) else http_api).answer(request, done)

        server = Server(
            answer,
            connections,
            refuse=hosts.refusal_of,
            head_seconds=self._head_seconds,
            kept_seconds=self._kept_seconds,
        )
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(server.accept, sock=listener, backlog=_BACKLOG)
        tasks = [asyncio.create_task(self._close_late(server, connections)), asyncio.create_task(self._queues.run())]
        try:
            ready()
            tasks += [asyncio.create_task(self._run(schedule, place)) for schedule in self._deployment.schedules]
            await self._stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            listening.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connections.close_all(), _CLOSE_SECONDS)
            connections.cut_all()
            await server.close(patience=1.0)

    async def _close_late(self, server: Server, connections: Connections) -> None:
        """Look after the time limits of all connections."""
        limits = (self._idle_seconds, self._lifetime_seconds, self._head_seconds, self._kept_seconds)
        while True:
            await asyncio.sleep(min(1.0, *(limit / 20 for limit in limits)))
            server.close_late()
            connections.close_old()

    async def _run(self, schedule: Schedule, place: events.Place) -> None:
        """Invoke a schedule's function at once, then once each period, also while an earlier run continues."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._runtime.invoke_async(schedule.function, events.schedule_event(schedule, place))
            due += self._periods.get(schedule.function, schedule.seconds)
            await asyncio.sleep(max(0.0, due - loop.time()))
