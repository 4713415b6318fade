"""`Agent`: the handlers of a fleet's machine, connected to the service for as long as the process runs."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from typing import Any

from . import forks, logs
from .errors import AgentError
from .execution import Executions, logger
from .handlers import Handler, Handlers
from .records import Start
from .service_thread import ServiceThread
from .settings import DRAIN_SECONDS, FACTS_BYTES, WINDOW, Settings, facts_of

_STUCK_SECONDS = 5.0
"""How long the process may need for its end after the agent has ended, before it is ended with an exit code of 1."""


class Agent:
    """One agent; what is not given comes from the environment.

    `url` DISPATCHER_URL, `agent_id` AGENT_ID, `api_key` AGENT_API_KEY, `enrolment_token` AGENT_ENROLMENT_TOKEN, `state`
    AGENT_STATE (agent.db without both), `platform` AGENT_PLATFORM, `region` AGENT_REGION.  `window` is how many commands run
    at a time (1 to 100), `drain_seconds` how long they have to finish after SIGTERM.  `facts` is what the agent reports about
    itself, as a JSON object of at most 14 KB.  `longest_pause` bounds the pauses between connections, for tests.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        agent_id: str | None = None,
        api_key: str | None = None,
        enrolment_token: str | None = None,
        state: str | os.PathLike[str] | None = None,
        platform: str | None = None,
        region: str | None = None,
        facts: Mapping[str, Any] | None = None,
        window: int = WINDOW,
        drain_seconds: float = DRAIN_SECONDS,
        longest_pause: float | None = None,
    ) -> None:
        self.handlers = Handlers()
        self._facts = dict(facts or {})
        if len(json.dumps(self._facts)) > FACTS_BYTES - 2048:
            raise AgentError(
                f"The facts are too large: with those of the machine they have at most {FACTS_BYTES} bytes."
            )
        self.window = window
        self._read_settings: Callable[[], Settings] = lambda: Settings.read(
            url=url,
            agent_id=agent_id,
            api_key=api_key,
            enrolment_token=enrolment_token,
            state=state,
            platform=platform,
            region=region,
            window=window,
            drain_seconds=drain_seconds,
            longest_pause=longest_pause,
        )
        self._service: ServiceThread | None = None
        self._drain_seconds = drain_seconds

    def on(self, action: str, *, idempotent: bool = False, concurrent: bool = False) -> Callable[[Handler], Handler]:
        """Register the handler of an action; `"*"` is for all actions without one.

        The handler is a function, with `async` or without; the second runs in a thread of its own.  Its first argument is the
        command; further ones are fields of the payload by name, or one pydantic model of the whole payload.  What it returns
        is the result.

        `idempotent`: if the agent ended while it ran, it is run again; otherwise the command fails as interrupted.
        `concurrent`: it does not wait for its turn among the commands of its session, and others do not wait for it.
        """

        def register(function: Handler) -> Handler:
            self.handlers.add(action, function, idempotent=idempotent, concurrent=concurrent)
            return function

        return register

    @property
    def facts(self) -> dict[str, Any]:
        """What the agent reports about itself when it connects."""
        return facts_of(self._facts, self.handlers.actions())

    def run(self) -> None:
        """Run until SIGTERM or SIGINT, then finish what runs; a second signal stops it at once.

        SIGHUP opens a new connection with the key that is in the key file now.  Ends the process with an explanation if the
        agent cannot run.  Logs go to standard error, as JSON if AGENT_LOG is `json`, unless the program has configured
        `logging`.
        """
        ended = threading.Event()
        if not logging.getLogger().handlers:
            logs.configure(as_json=os.environ.get("AGENT_LOG") == "json")
        try:
            asyncio.run(self._run_until_signal(ended))
        except AgentError as error:
            sys.exit(f"The agent does not run. {error}")
        finally:
            ended.set()

    async def serve(self) -> None:
        """Run in this event loop until `stop` is called or this is cancelled; raises AgentError if it cannot run."""
        loop = asyncio.get_running_loop()
        settings = self._read_settings()
        service = ServiceThread(settings, self.handlers, self.facts, _InLoop(loop, lambda: executions))
        executions = Executions(self.handlers, service.ended, service.progress)
        self._service = service
        service.start()
        finished = asyncio.wrap_future(service.finished)
        try:
            await asyncio.shield(finished)
        except asyncio.CancelledError:
            service.drain(self._drain_seconds)
            await finished
            raise
        finally:
            self._service = None

    def stop(self, seconds: float | None = None) -> None:
        """End within a time: finish what runs, say its results, close the connection.  From any thread."""
        if self._service is not None:
            self._service.drain(self._drain_seconds if seconds is None else seconds)

    def reconnect(self) -> None:
        """Open a new connection with the key that is in the key file now, without a gap.  From any thread."""
        if self._service is not None:
            self._service.move()

    async def _run_until_signal(self, ended: threading.Event) -> None:
        asyncio.get_running_loop().set_task_factory(forks.contained_task)
        with self._signals():
            serving = asyncio.ensure_future(self.serve())
            await asyncio.sleep(0)
            if self._service is not None:
                self._service.finished.add_done_callback(lambda _: _watch(ended))
            await serving

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        """Handle signals as `signal` does, and not as asyncio: so they are handled while a handler blocks the loop."""
        signalled: list[int] = []

        def leave(number: int, _: object) -> None:
            signalled.append(number)
            logger.info("Ending after %s", signal.Signals(number).name)
            self.stop(None if len(signalled) == 1 else 0)

        def renew(*_: object) -> None:
            self.reconnect()

        forks.handle({signal.SIGTERM: leave, signal.SIGINT: leave})
        if hasattr(signal, "SIGHUP"):
            forks.handle({signal.SIGHUP: renew})
        try:
            yield
        finally:
            forks.restore()


class _InLoop:
    """Runs the handlers in the loop of `serve`; called from the thread of the connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, executions: Callable[[], Executions]) -> None:
        self._loop, self._executions = loop, executions

    def start(self, effect: Start) -> None:
        """Run the handler of a command."""
        self._call(lambda: self._executions().start(effect.delivery, resumed=effect.resumed))

    def stop(self, command_id: str) -> None:
        """Ask a handler to stop."""
        self._call(lambda: self._executions().stop(command_id))

    def _call(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)


def _watch(ended: threading.Event) -> None:
    """End the process if a handler keeps it from ending: its command is reported as interrupted by the next process."""

    def watch() -> None:
        if not ended.wait(_STUCK_SECONDS):
            logger.error("A handler does not end: the process is ended without it")
            os._exit(1)

    threading.Thread(target=watch, name="end of the agent", daemon=True).start()
