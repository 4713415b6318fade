"""What an agent needs to know before it starts: from its arguments, else from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import machine, node, python_version, system
from typing import Any
from urllib.parse import urlsplit

from .errors import AgentError

WINDOW, WINDOW_MOST = 32, 100
"""How many commands an agent takes and executes at a time: without an argument, and at most."""
FACTS_BYTES = 16 * 1024
"""The most bytes of an agent's facts, as JSON."""
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where an agent connects, who it is, and where its state is."""

    url: str
    agent_id: str
    state: Path
    api_key: str | None = field(default=None, repr=False)
    enrolment_token: str | None = field(default=None, repr=False)
    platform: str
    region: str | None = None
    window: int = WINDOW
    drain_seconds: float = DRAIN_SECONDS
    longest_pause: float | None = None

    @classmethod
    def read(
        cls,
        *,
        url: str | None,
        agent_id: str | None,
        api_key: str | None,
        enrolment_token: str | None,
        state: str | os.PathLike[str] | None,
        platform: str | None,
        region: str | None,
        window: int,
        drain_seconds: float,
        longest_pause: float | None,
    ) -> "Settings":
        """Complete the arguments by the environment; raises AgentError for what is missing or impossible."""
        environment = os.environ
        wanted = {
            "url": url or environment.get("DISPATCHER_URL"),
            "agent_id": agent_id or environment.get("AGENT_ID"),
        }
        variables = {"url": "DISPATCHER_URL", "agent_id": "AGENT_ID"}
        missing = [f"{name} (or {variables[name]})" for name, value in wanted.items() if not value]
        if missing:
            raise AgentError(f"The agent needs {' and '.join(missing)}.")
        address = str(wanted["url"]).rstrip("/")
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise AgentError(f"The url {address!r} must begin with http:// or https:// and name a host.")
        if not 1 <= window <= WINDOW_MOST:
            raise AgentError(f"The window must be a number from 1 to {WINDOW_MOST}.")
        return cls(
            url=address,
            agent_id=str(wanted["agent_id"]),
            state=Path(state or environment.get("AGENT_STATE") or "agent.db"),
            api_key=api_key or environment.get("AGENT_API_KEY") or None,
            enrolment_token=enrolment_token or environment.get("AGENT_ENROLMENT_TOKEN") or None,
            platform=platform or environment.get("AGENT_PLATFORM") or system().lower() or "unknown",
            region=region or environment.get("AGENT_REGION") or None,
            window=window,
            drain_seconds=drain_seconds,
            longest_pause=longest_pause,
        )

    @property
    def is_local(self) -> bool:
        """Whether the service is on this machine: then no proxy is used."""
        host = urlsplit(self.url).hostname or ""
        return host in {"localhost", "::1"} or host.startswith("127.")


def facts_of(own: Mapping[str, Any], actions: list[str]) -> dict[str, Any]:
    """Return what the agent reports about itself: about its machine, its actions, and what its author adds."""
    return {
        "hostname": node(),
        "system": system(),
        "machine": machine(),
        "python": python_version(),
        "actions": actions,
        **own,
    }
