"""An agent for the containers of one machine: it speaks Docker's API over its socket (DOCKER_SOCKET)."""

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import quote

from command_dispatcher import Agent, Reject

agent = Agent()


class Docker(http.client.HTTPConnection):
    """A connection to Docker's socket."""

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(os.environ.get("DOCKER_SOCKET", "/var/run/docker.sock"))


def ask(method: str, path: str) -> Any:
    """Send a request to Docker; raises Reject with Docker's own words if it refuses."""
    docker = Docker("docker")
    docker.request(method, f"/v1.41{path}")
    response = docker.getresponse()
    answer = json.loads(response.read() or "null")
    if response.status >= http.HTTPStatus.BAD_REQUEST:
        raise Reject(answer["message"])
    return answer


@agent.on("containers", idempotent=True, concurrent=True)
def containers() -> list[dict[str, str]]:
    """List the containers of the machine."""
    found = ask("GET", "/containers/json?all=true")
    return [{"name": each["Names"][0].lstrip("/"), "image": each["Image"], "state": each["State"]} for each in found]


@agent.on("restart")
def restart(container: str, seconds: int = 10) -> None:
    """Restart a container, which gets so many seconds to stop."""
    ask("POST", f"/containers/{quote(container, safe='')}/restart?t={seconds}")


@agent.on("stop", idempotent=True)
def stop(container: str, seconds: int = 10) -> None:
    """Stop a container; one that is stopped already stays so."""
    ask("POST", f"/containers/{quote(container, safe='')}/stop?t={seconds}")


if __name__ == "__main__":
    agent.run()
