"""The examples for Docker and Kubernetes, against servers that answer as those do."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from command_dispatcher import testing
from examples.docker_agent import agent as docker
from examples.kubernetes_agent import agent as kubernetes

pytestmark = pytest.mark.anyio
MANIFEST = Path(kubernetes.__file__).with_name("agent.yaml")
CONTAINERS = [{"Id": "1", "Names": ["/web"], "Image": "nginx:1", "State": "running"}]


@pytest.fixture
def anyio_backend() -> str:
    """The event loop of the tests."""
    return "asyncio"


class Platform(HTTPServer):
    """A server that records each request and answers with `answers` by method and path."""

    def __init__(self, address: Any, answers: dict[str, tuple[int, Any]], family: int = socket.AF_INET) -> None:
        self.address_family = socket.AddressFamily(family)
        self.answers, self.requests = answers, list[tuple[str, Any, str | None]]()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind also to a Unix socket, which has no host and port."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = f"{self.command} {self.path}"
        self.server.requests.append((call, json.loads(body or "null"), self.headers.get("Authorization")))
        status, answer = self.server.answers.get(call, (404, {"message": "not found"}))
        content = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET  # noqa: N815 - the names of the library

    def address_string(self) -> str:
        """Return nothing: a Unix socket has no address."""
        return ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the library
        """Log nothing."""


def _serving(server: Platform) -> Iterator[Platform]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def docker_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A Docker with one container."""
    path = str(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_SOCKET", path)
    answers = {
        "GET /v1.41/containers/json?all=true": (200, CONTAINERS),
        "POST /v1.41/containers/web/restart?t=3": (204, None),
        "POST /v1.41/containers/..%2Fx/stop?t=10": (404, {"message": "No such container: ../x"}),
    }
    yield from _serving(Platform(path, answers, socket.AF_UNIX))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """A cluster with one deployment."""
    path = "/apis/apps/v1/namespaces/shop/deployments"
    web = {"spec": {"replicas": 3}, "status": {"readyReplicas": 2}}
    server = Platform(
        ("127.0.0.1", 0),
        {
            f"GET {path}/web": (200, web),
            f"PATCH {path}/web": (200, {"spec": {"replicas": 5}}),
            f"GET {path}/db": (403, {"message": "forbidden"}),
        },
    )
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    (tmp_path / "namespace").write_text("shop")
    (tmp_path / "token").write_text("the-token")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    monkeypatch.setattr(kubernetes, "ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_address[1]))
    yield from _serving(server)


async def test_the_docker_agent_lists_and_restarts_containers(docker_socket: Platform) -> None:
    """A name never leads to another path of the API, and Docker's words are the error."""
    async with testing.Service(docker.agent) as service:
        listed = await service.deliver("containers").ended()
        restarted = await service.deliver("restart", {"container": "web", "seconds": 3}).ended()
        unknown = await service.deliver("stop", {"container": "../x"}).ended()

    assert listed.result == [{"name": "web", "image": "nginx:1", "state": "running"}]
    assert (restarted.status, restarted.result) == ("completed", None)
    assert (unknown.status, unknown.error) == ("failed", "No such container: ../x")
    assert len(docker_socket.requests) == 3


async def test_the_manifest_allows_what_the_agent_does() -> None:
    """It reads and patches deployments, and one pod at a time has the state file."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
    by_kind = {each["kind"]: each for each in documents}

    assert by_kind["Role"]["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}
    ]
    assert by_kind["StatefulSet"]["spec"]["replicas"] == 1


async def test_the_kubernetes_agent_scales_and_restarts_deployments(cluster: Platform) -> None:
    """With the token and the authority of its service account, in its namespace."""
    async with testing.Service(kubernetes.agent) as service:
        status = await service.deliver("status", {"deployment": "web"}).ended()
        scaled = await service.deliver("scale", {"deployment": "web", "replicas": 5}).ended()
        restarted = await service.deliver("restart", {"deployment": "web"}).ended()
        forbidden = await service.deliver("status", {"deployment": "db"}).ended()

    assert (status.result, scaled.result) == ({"wanted": 3, "ready": 2}, {"wanted": 5})
    assert restarted.status == "completed"
    assert (forbidden.status, forbidden.error) == ("failed", "forbidden")
    bodies = [body for _, body, _ in cluster.requests]
    assert bodies[1] == {"spec": {"replicas": 5}}
    assert "kubectl.kubernetes.io/restartedAt" in bodies[2]["spec"]["template"]["metadata"]["annotations"]
    assert {token for _, _, token in cluster.requests} == {"Bearer the-token"}
