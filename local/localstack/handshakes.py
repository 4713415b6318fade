"""A refused handshake, an accepted one, and one command over it: the scenario does not show these.

This runs first, because each function of an emulator takes seconds to start, longer than an agent waits.
"""

import json
from http import HTTPStatus
from typing import Any

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from local.demo.scenario import expect, show, until
from local.http_client import Client

COLD_SECONDS = 120.0
"""How long a handshake or an answer may take while functions start."""
AGENT = "probe"


def run(client: Client) -> None:
    """Connect with a wrong key and without one, then with the right one; execute one command; raises StepFailed."""
    key = client.post("/api/v1/agents", {"agentId": AGENT, "platform": "kubernetes"})["apiKey"]
    for wrong in ("0" * 64, None):
        status = _refused(client.url, wrong)
        show(f"with {'a wrong key' if wrong else 'no key'} → [b]{status}[/]")
        expect(status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}, f"a handshake without its key gets {status}")
    with _open(client.url, key) as socket:
        show("with its own key → [b]101[/]")
        command = client.post(
            f"/api/v1/agents/{AGENT}/commands", {"action": "stop_session", "payload": {"sessionId": "x"}}
        )
        message = json.loads(socket.recv(timeout=COLD_SECONDS))
        expect(message["payload"]["commandId"] == command["commandId"], "the accepted command is delivered")
        expect("timestamp" not in message, "the frame has no timestamp")
        _say(socket, "ack", {"commandId": command["commandId"]})
        _say(socket, "complete", {"commandId": command["commandId"], "result": {"state": "terminated"}})
        path = f"/api/v1/commands/{command['commandId']}"
        until("the command is completed", lambda: client.get(path)["status"] == "completed", COLD_SECONDS)
        show(f"{command['commandId']}: accepted, posted to the socket, acknowledged, [b]completed[/]")
    until("the agent is offline", lambda: client.get(f"/api/v1/agents/{AGENT}")["presence"] == "offline", COLD_SECONDS)


def _open(url: str, key: str | None) -> ClientConnection:
    return connect(
        f"ws{url.removeprefix('http')}/api/v1/agents/connect?agent_id={AGENT}",
        additional_headers={"X-Agent-Api-Key": key} if key else {},
        open_timeout=COLD_SECONDS,
        compression=None,
        proxy=None,
    )


def _refused(url: str, key: str | None) -> int:
    """Return the status of the refused handshake, 101 if it was accepted."""
    try:
        with _open(url, key):
            return HTTPStatus.SWITCHING_PROTOCOLS
    except InvalidStatus as error:
        return error.response.status_code


def _say(socket: ClientConnection, kind: str, payload: dict[str, Any]) -> None:
    socket.send(json.dumps({"type": kind, "payload": payload}))
