"""The stand-ins' clusters refuse what Kubernetes and Docker refuse."""

from dataclasses import replace
from typing import Any

import pytest

from tests.streamspace.docker_host import DockerError, DockerHost
from tests.streamspace.kubernetes_cluster import Cluster, ClusterError, Deployment, Port

DEPLOYMENT: dict[str, Any] = {
    "name": "ann-1",
    "image": "example/firefox",
    "ports": (Port(name="vnc", number=3000),),
    "memory": "512Mi",
    "cpu": "250m",
}
CONTAINER: dict[str, Any] = {
    "name": "streamspace-ann-1",
    "session": "ann-1",
    "image": "example/firefox",
    "ports": ("3000/tcp",),
    "memory": 2**29,
    "nano_cpus": 250_000_000,
}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"name": "Ann"}, "metadata.name"),
        ({"name": "a" * 64}, "metadata.name"),
        ({"labels": {"user": "ann-"}}, "metadata.labels"),
        ({"image": ""}, "image: Required value"),
        ({"ports": (Port(name="vnc", number=0),)}, "containerPort: Required value"),
        ({"ports": (Port(name="VNC", number=1),)}, "name: Invalid value"),
        ({"ports": (Port(name="1", number=1),)}, "name: Invalid value"),
        ({"ports": (Port(name="a", number=1), Port(name="a", number=2))}, "Duplicate value"),
        ({"ports": (Port(name="a", number=1, protocol="tcp"),)}, "Unsupported value"),
        ({"memory": "1 GB"}, "invalid memory value"),
        ({}, "already exists"),
    ],
    ids=str,
)
def test_kubernetes_refuses(changes: dict[str, Any], refusal: str) -> None:
    """Each with the words of the API server."""
    cluster = Cluster()
    cluster.create_deployment(Deployment(**DEPLOYMENT))

    with pytest.raises(ClusterError, match=refusal):
        cluster.create_deployment(Deployment(**{**DEPLOYMENT, **changes}))

    assert cluster.pods() == ["ann-1"]


def test_a_service_begins_with_a_letter_and_is_there_once() -> None:
    """A deployment may begin with a digit."""
    cluster = Cluster()
    cluster.create_deployment(replace(Deployment(**DEPLOYMENT), name="1ann"))
    cluster.create_service("ann")

    for name in ("1ann", "ann"):
        with pytest.raises(ClusterError):
            cluster.create_service(name)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"name": "-ann"}, "Invalid container name"),
        ({"name": "ann", "ports": ("0/tcp",)}, "invalid port"),
        ({"name": "ann", "ports": ("3000/",)}, "invalid port"),
        ({"name": "ann", "memory": 1}, "Minimum memory"),
        ({}, "already in use"),
    ],
    ids=str,
)
def test_docker_refuses(changes: dict[str, Any], refusal: str) -> None:
    """Each with the words of the daemon."""
    host = DockerHost()
    host.create(**CONTAINER)

    with pytest.raises(DockerError, match=refusal):
        host.create(**{**CONTAINER, **changes})

    assert list(host.containers) == ["streamspace-ann-1"]


@pytest.mark.parametrize("image", ["", "UPPER", "example/missing"])
def test_docker_pulls_only_what_exists(image: str) -> None:
    """A missing image is a failed pull."""
    with pytest.raises(DockerError):
        DockerHost(missing=frozenset({"example/missing"})).pull(image)
