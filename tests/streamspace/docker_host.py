"""A Docker daemon, as far as the docker-agent uses it: it refuses what the daemon refuses, with its words."""

import hashlib
import re
import threading
from dataclasses import dataclass

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
REFERENCE = re.compile(r"[a-z0-9]+([._/:-]+[A-Za-z0-9]+)*(@sha256:[0-9a-f]{64})?")
PORT = re.compile(r"([0-9]+)/(tcp|udp|sctp)")
MEMORY_LEAST = 6 * 1024 * 1024


class DockerError(Exception):
    """The daemon refused a request."""


@dataclass(slots=True, kw_only=True)
class Container:
    """A container of a session."""

    container_id: str
    name: str
    session: str
    image: str
    ports: tuple[str, ...]
    memory: int
    nano_cpus: int
    running: bool = False


class DockerHost:
    """One daemon; `missing` are the images that no registry has."""

    def __init__(self, *, missing: frozenset[str] = frozenset()) -> None:
        self.containers: dict[str, Container] = {}
        self._missing = missing
        self._lock = threading.Lock()

    def pull(self, image: str) -> None:
        """Pull an image; raises DockerError."""
        _check(REFERENCE.fullmatch(image) is not None, "invalid reference format")
        _check(image not in self._missing, f"pull access denied for {image}, repository does not exist")

    def create(
        self, *, name: str, session: str, image: str, ports: tuple[str, ...], memory: int, nano_cpus: int
    ) -> Container:
        """Create a container that does not run yet; raises DockerError."""
        with self._lock:
            _check(
                NAME.fullmatch(name) is not None,
                f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            )
            _check(name not in self.containers, f'Conflict. The container name "/{name}" is already in use')
            for port in ports:
                found = PORT.fullmatch(port)
                _check(found is not None and 1 <= int(found[1]) <= 65535, f"invalid port specification: {port!r}")
            _check(memory == 0 or memory >= MEMORY_LEAST, "Minimum memory limit allowed is 6MB")
            _check(nano_cpus >= 0, "range of CPUs is from 0.01")
            container = Container(
                container_id=hashlib.sha256(name.encode()).hexdigest(),
                name=name,
                session=session,
                image=image,
                ports=ports,
                memory=memory,
                nano_cpus=nano_cpus,
            )
            self.containers[name] = container
            return container

    def start(self, container: Container) -> str:
        """Start a container; return its address."""
        container.running = True
        return "172.18.0.2"

    def of_session(self, session: str) -> Container:
        """Find the container of a session; raises DockerError."""
        with self._lock:
            for container in self.containers.values():
                if container.session == session:
                    return container
        raise DockerError(f"container not found for session: {session}")

    def remove(self, container: Container) -> None:
        """Stop and remove a container."""
        with self._lock:
            self.containers.pop(container.name, None)


def _check(holds: bool, refusal: str) -> None:  # noqa: FBT001 - an assertion with Docker's words
    if not holds:
        raise DockerError(refusal)
