"""Registration over HTTP and the WebSocket connections of one agent."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, TypeVar, cast
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import ProxyHandler, Request, build_opener

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from .credentials import Credentials
from .errors import AgentError
from .link import Failure
from .messages import MESSAGE_BYTES
from .settings import Settings

logger = logging.getLogger("command_dispatcher.agent")
TIMEOUT = 10.0
"""Seconds for the registration, and for the handshake."""
PING_SECONDS, PONG_SECONDS = 54.0, 20.0
_REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
Result = TypeVar("Result")


class NotConnected(Exception):
    """No connection could be opened; `failure` decides when to try again."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure


async def open_connection(settings: Settings, credentials: Credentials) -> ClientConnection:
    """Register and connect; raises NotConnected."""
    try:
        key = credentials.key()
        answer = await _in_daemon_thread(lambda: _register(settings, key))
        enrolled = answer.get("apiKey")
        if isinstance(enrolled, str) and enrolled:
            credentials.save(enrolled)
            key = enrolled
        is_pending = answer.get("approvalStatus") == "pending"
        if not is_pending:
            return await _connect(settings, key)
    except NotConnected as error:
        if error.failure is Failure.REFUSED:
            credentials.refused()
        raise
    except (AgentError, OSError) as error:  # the file of the key
        raise NotConnected(Failure.REFUSED, str(error)) from error
    raise NotConnected(Failure.PENDING, "an operator has to approve this agent")


async def _connect(settings: Settings, key: str) -> ClientConnection:
    url = "ws" + settings.url.removeprefix("http")
    query = f"agent_id={quote(settings.agent_id, safe='')}&protocol=2&window={settings.window}"
    try:
        return await connect(
            f"{url}/api/v1/agents/connect?{query}",
            additional_headers={"X-Agent-Api-Key": key},
            compression=None,
            max_size=MESSAGE_BYTES,
            max_queue=64,
            open_timeout=TIMEOUT,
            close_timeout=2,
            ping_interval=PING_SECONDS,
            ping_timeout=PONG_SECONDS,
            proxy=None if settings.is_local else True,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        failure = Failure.REFUSED if status in _REFUSALS else Failure.UNREACHABLE
        raise NotConnected(failure, f"the connection was answered with {status}") from None
    except (OSError, WebSocketException, EOFError) as error:
        raise NotConnected(Failure.UNREACHABLE, f"no connection: {error}") from None


def _register(settings: Settings, key: str) -> dict[str, Any]:
    body = {
        "agentId": settings.agent_id,
        "platform": settings.platform,
        "capacity": {"maxCommands": settings.window},
        "metadata": {"sdk": "command_dispatcher"},
        **({} if settings.region is None else {"region": settings.region}),
    }
    request = Request(  # noqa: S310 - the user of the agent chose the URL; Settings allows only http and https
        f"{settings.url}/api/v1/agents/register",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "X-Agent-Api-Key": key},
    )
    opener = build_opener(ProxyHandler({})) if settings.is_local else build_opener()
    try:
        with opener.open(request, timeout=TIMEOUT) as response:
            answer: Any = json.load(response)
    except HTTPError as error:
        text = _text(error)
        failure = Failure.REFUSED if error.code in _REFUSALS else Failure.UNREACHABLE
        raise NotConnected(failure, f"the registration was answered with {error.code}: {text}") from None
    except (OSError, HTTPException, ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise NotConnected(Failure.UNREACHABLE, f"the service cannot be reached: {reason}") from None
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}


def _text(error: HTTPError) -> str:
    """Return the beginning of an error's body; nothing if the connection is cut there."""
    try:
        with error:
            return error.read(500).decode(errors="replace").strip()
    except (OSError, HTTPException):
        return ""


async def _in_daemon_thread(function: Callable[[], Result]) -> Result:
    """Run a blocking function in a thread that does not keep the process alive at its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(cast("Result", result))
        else:
            future.set_exception(error)

    def run() -> None:
        try:
            result, failure = function(), None
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            result, failure = None, error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            logger.debug("A registration ended after the agent")

    threading.Thread(target=run, name="registration", daemon=True).start()
    return await future
