"""A namespace of Kubernetes, as far as the k8s-agent uses it: it refuses what the API server refuses, with its words."""

import re
import threading
from dataclasses import dataclass, field
from typing import Any

LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?([EPTGMK]i?|[numk])?")
NAME_MOST = 63


class ClusterError(Exception):
    """The API server refused a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a container."""

    name: str
    number: int
    protocol: str = "TCP"


@dataclass(slots=True, kw_only=True)
class Deployment:
    """A deployment with one container."""

    name: str
    image: str
    ports: tuple[Port, ...]
    memory: str
    cpu: str
    env: dict[str, str] = field(default_factory=dict[str, str])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    replicas: int = 1


class Cluster:
    """One namespace; every request is one step, as at the API server."""

    def __init__(self) -> None:
        self.deployments: dict[str, Deployment] = {}
        self.services: set[str] = set()
        self.claims: set[str] = set()
        self.templates: dict[str, dict[str, Any]] = {}
        """The objects of kind Template in the cluster."""
        self._lock = threading.Lock()

    def create_deployment(self, new: Deployment) -> None:
        """Create a deployment; raises ClusterError."""
        kind = f'Deployment.apps "{new.name}" is invalid'
        with self._lock:
            _check(_is_name(new.name, LABEL_1123), f"{kind}: metadata.name: Invalid value")
            for key, value in new.labels.items():
                _check(
                    len(value) <= NAME_MOST and LABEL_VALUE.fullmatch(value) is not None,
                    f"{kind}: metadata.labels: Invalid value: {value!r} of {key}",
                )
            _check(bool(new.image.strip()), f"{kind}: spec.template.spec.containers[0].image: Required value")
            for index, port in enumerate(new.ports):
                _check_port(f"{kind}: spec.template.spec.containers[0].ports[{index}]", port)
            names = [port.name for port in new.ports]
            _check(len(names) == len(set(names)), f"{kind}: spec.template.spec.containers[0].ports: Duplicate value")
            for what, quantity in (("memory", new.memory), ("cpu", new.cpu)):
                _check(
                    QUANTITY.fullmatch(quantity) is not None,
                    f"invalid {what} value: quantities must match the regular expression",
                )
            _check(new.name not in self.deployments, f'deployments.apps "{new.name}" already exists')
            self.deployments[new.name] = new

    def create_service(self, name: str) -> None:
        """Create a service; its name is a DNS label of RFC 1035, which begins with a letter.  Raises ClusterError."""
        with self._lock:
            _check(_is_name(name, LABEL_1035), f'Service "{name}" is invalid: metadata.name: Invalid value')
            _check(name not in self.services, f'services "{name}" already exists')
            self.services.add(name)

    def create_claim(self, name: str) -> None:
        """Create a claim of a volume; raises ClusterError."""
        with self._lock:
            _check(LABEL_1123.fullmatch(name) is not None, f'PersistentVolumeClaim "{name}" is invalid: metadata.name')
            _check(name not in self.claims, f'persistentvolumeclaims "{name}" already exists')
            self.claims.add(name)

    def scale(self, name: str, replicas: int) -> None:
        """Change the number of pods; raises ClusterError."""
        with self._lock:
            _check(name in self.deployments, f'deployments.apps "{name}" not found')
            self.deployments[name].replicas = replicas

    def delete(self, name: str) -> None:
        """Delete a deployment with its pods, and its service; what does not exist is no error."""
        with self._lock:
            self.deployments.pop(name, None)
            self.services.discard(name)

    def pods(self) -> list[str]:
        """Return the names of the deployments whose pod runs."""
        with self._lock:
            return sorted(name for name, deployment in self.deployments.items() if deployment.replicas)


def _is_name(name: str, pattern: re.Pattern[str]) -> bool:
    return len(name) <= NAME_MOST and pattern.fullmatch(name) is not None


def _check_port(place: str, port: Port) -> None:
    _check(1 <= port.number <= 65535, f"{place}.containerPort: Required value")
    _check(
        len(port.name) <= 15
        and LABEL_1123.fullmatch(port.name) is not None
        and re.search("[a-z]", port.name) is not None,
        f"{place}.name: Invalid value: {port.name!r}",
    )
    _check(port.protocol in {"TCP", "UDP", "SCTP"}, f"{place}.protocol: Unsupported value: {port.protocol!r}")


def _check(holds: bool, refusal: str) -> None:  # noqa: FBT001 - an assertion with Kubernetes' words
    if not holds:
        raise ClusterError(refusal)
