"""What both agents have in common: registration, the WebSocket, and their periods."""

from dataclasses import asdict, dataclass
from typing import Any, Self, cast

import urllib3
from websockets.sync.client import ClientConnection, connect

_pool = urllib3.PoolManager(retries=False, timeout=10.0)


class Ended(Exception):
    """The agent's process has ended, or does nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The agents' periods, in seconds."""

    heartbeat: float = 30.0
    """The first one comes after this time, too."""
    ping: float = 54.0
    read_deadline: float = 60.0
    """Only a pong extends it."""
    reconnect: float = 2.0
    """The first pause; each one is twice as long, up to sixteen times."""
    poll: float = 30.0
    """Between two registrations while the approval is pending."""
    pod_start: float = 1.0
    vnc_ready: float = 2.0
    """After a session runs."""

    @classmethod
    def faster(cls, times: float) -> Self:
        """Return all periods, so many times shorter."""
        return cls(**{name: period / times for name, period in asdict(cls()).items()})


def register(url: str, key: str, body: dict[str, Any]) -> tuple[int, str]:
    """Register; return the status and the text of the answer."""
    answer = _pool.request("POST", f"{url}/api/v1/agents/register", json=body, headers={"X-Agent-Api-Key": key})
    return answer.status, answer.data.decode()


def open_socket(url: str, agent_id: str, key: str) -> ClientConnection:
    """Open the WebSocket, without an own ping: the agents have their own period."""
    return connect(
        f"{url.replace('http', 'ws', 1)}/api/v1/agents/connect?agent_id={agent_id}",
        additional_headers={"X-Agent-Api-Key": key},
        compression=None,
        proxy=None,
        ping_interval=None,
        open_timeout=10,
    )


def members(value: object) -> dict[str, Any] | None:
    """Return the value if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def command_in(message: dict[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """Return a command's id, action and payload; None: the agents drop the message without a word."""
    command = members(message.get("payload")) if message.get("type") == "command" else None
    payload = members(command.get("payload")) if command else None
    return (str(command["commandId"]), str(command["action"]), payload) if command and payload is not None else None
