"""`make smoke`: prove that a deployment works, from the log-in to a command's result.

    python -m local.tools.smoke URL [WS_URL]

It uses the deployment as an operator and as an agent that it creates and deletes, so it runs against every deployment: on
AWS, on an emulator, on one machine.  It reads DISPATCHER_TOKEN, a token of an admin, or DISPATCHER_ADMIN_PASSWORD, to log in.
"""

import argparse
import json
import os
import re
import secrets
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import urllib3
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from local.http_client import Client, Refused

CONNECT_PATH = "/api/v1/agents/connect"
PATIENCE = 30.0
"""Seconds for a handshake and for each answer: functions may have to start first."""


class CheckFailed(Exception):
    """A check failed; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A deployment: an admin's client, where agents connect, and the seconds to wait for each answer."""

    client: Client
    sockets: str
    patience: float = PATIENCE


def sockets_of(url: str) -> str:
    """Return where agents connect on a deployment with one host."""
    return f"ws{url.removeprefix('http').rstrip('/')}{CONNECT_PATH}"


def run(deployment: Deployment, show: Callable[[str], None]) -> None:
    """Run every check, and show each; raises CheckFailed, or Refused."""
    client = deployment.client
    health = client.get("/healthz")
    show(f"the service and its database answer: {health['status']}")
    show(f"{urlsplit(client.url).hostname}: {_families(client.url)}")
    _open_page(client.url)
    show("the operators' page and its scripts are served")
    agent = f"smoke-{secrets.token_hex(4)}"
    key = client.post("/api/v1/agents", {"agentId": agent, "platform": "kubernetes"})["apiKey"]
    try:
        for wrong in (secrets.token_hex(32), None):
            status = _refused(deployment, agent, wrong)
            _expect(
                status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}, f"a handshake without its key gets {status}"
            )
            show(f"a handshake with {'a wrong key' if wrong else 'no key'} is refused: {status}")
        _deliver(deployment, agent, key, show)
    finally:
        client.delete(f"/api/v1/agents/{agent}")


def _open_page(url: str) -> None:
    """Fetch the page and the script that it begins with, compressed, as a browser does."""
    page = _fetched(f"{url}/console/")
    script = re.search(r'src="(/console/static/[0-9a-f]+/boot\.js)"', page)
    _expect(script is not None, "the operators' page names no script")
    if script is not None:
        _expect(
            'import("./app.js")' in _fetched(url + script[1]), "the operators' page has another script than its own"
        )


def _fetched(url: str) -> str:
    answer = urllib3.request("GET", url, headers={"Accept-Encoding": "gzip"}, retries=False, timeout=PATIENCE)
    policy = answer.headers.get("Content-Security-Policy", "")
    _expect(answer.status == HTTPStatus.OK and policy.startswith("default-src 'none'"), f"{url} gets {answer.status}")
    return answer.data.decode()


def _deliver(deployment: Deployment, agent: str, key: str, show: Callable[[str], None]) -> None:
    waiting = _submit(deployment, agent)
    show("a command for an offline agent is accepted and waits")
    with _connected(deployment, agent, key) as agents_socket:
        show("the handshake with the agent's key succeeds")
        seconds = _execute(deployment, agents_socket, waiting)
        show(f"the waiting command came over @connections and is completed, after {seconds:.1f} s")
        seconds = _execute(deployment, agents_socket, _submit(deployment, agent))
        show(f"a command for the connected agent is completed, after {seconds:.1f} s")
        keys = deployment.client.get(f"/api/v1/agents/{agent}/keys")["keys"]
        deployment.client.delete(f"/api/v1/agents/{agent}/keys/{keys[0]['keyId']}")
        _expect(_is_closed(agents_socket, deployment.patience), "the connection of a revoked key is not closed")
        show("the service closed the connection when the key was revoked")


def _submit(deployment: Deployment, agent: str) -> str:
    body = {"action": "smoke", "payload": {"sent": time.time()}}
    command: str = deployment.client.post(f"/api/v1/agents/{agent}/commands", body)["commandId"]
    return command


def _execute(deployment: Deployment, agents_socket: ClientConnection, command: str) -> float:
    """Answer one command as an agent does; return the seconds until its result could be read."""
    began = time.monotonic()
    try:
        message = json.loads(agents_socket.recv(timeout=deployment.patience))
    except TimeoutError:
        why = deployment.client.get(f"/api/v1/commands/{command}/why")["sentence"]
        raise CheckFailed(f"the command did not come within {deployment.patience:.0f} s.  Why: {why}") from None
    _expect(message.get("payload", {}).get("commandId") == command, f"another message came: {message}")
    result = {"smoke": command}
    for kind, payload in (("ack", {}), ("complete", {"result": result})):
        agents_socket.send(json.dumps({"type": kind, "payload": {"commandId": command, **payload}}))
    end = time.monotonic() + deployment.patience
    while (read := deployment.client.get(f"/api/v1/commands/{command}"))["status"] != "completed":
        _expect(time.monotonic() < end, f"the command is {read['status']}, and not completed")
        time.sleep(0.1)
    _expect(read["result"] == result, f"the result is {read['result']}")
    return time.monotonic() - began


@contextmanager
def _connected(deployment: Deployment, agent: str, key: str | None) -> Generator[ClientConnection]:
    with connect(
        f"{deployment.sockets}?agent_id={agent}",
        additional_headers={"X-Agent-Api-Key": key} if key else {},
        open_timeout=deployment.patience,
        compression=None,
        proxy=None,
    ) as agents_socket:
        yield agents_socket


def _refused(deployment: Deployment, agent: str, key: str | None) -> int:
    """Return the status of the refused handshake, 101 if it was accepted."""
    try:
        with _connected(deployment, agent, key):
            return HTTPStatus.SWITCHING_PROTOCOLS
    except InvalidStatus as error:
        return error.response.status_code


def _is_closed(agents_socket: ClientConnection, patience: float) -> bool:
    try:
        agents_socket.recv(timeout=patience)
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False
    return False


def _families(url: str) -> str:
    """Tell over which versions of IP a host is known; functions reach @connections over IPv6."""
    parts = urlsplit(url)
    found = {family for family, *_ in socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)}
    names = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
    return " and ".join(sorted(names[family] for family in found if family in names))


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise CheckFailed(otherwise)


def _client(url: str, environment: dict[str, str]) -> Client:
    if token := environment.get("DISPATCHER_TOKEN"):
        return Client(url=url, token=token)
    if password := environment.get("DISPATCHER_ADMIN_PASSWORD"):
        return Client.log_in(url, "admin", password)
    raise CheckFailed("there is no token.  Next: set DISPATCHER_TOKEN or DISPATCHER_ADMIN_PASSWORD")


def main() -> int:
    """Run the checks; return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="make smoke", description="Prove that a deployment works.")
    parser.add_argument("url", help="the URL of the edge or of the HTTP API")
    parser.add_argument("sockets", nargs="?", help="the URL of the WebSocket API, without an edge")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for each answer")
    given = parser.parse_args()
    url: str = given.url.rstrip("/")

    def show(text: str) -> None:
        sys.stdout.write(f"✓ {text}\n")

    try:
        client = _client(url, dict(os.environ))
        run(Deployment(client=client, sockets=given.sockets or sockets_of(url), patience=given.patience), show)
    except (CheckFailed, Refused, WebSocketException, OSError, urllib3.exceptions.HTTPError) as error:
        sys.stdout.write(f"✗ {error}\n")
        return 1
    sys.stdout.write("✓ the deployment works\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
