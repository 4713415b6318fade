"""Each function as it is deployed: its one file, run with a true event, on a real database."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dispatcher.access.credentials import key_hash
from dispatcher.access.operators import ensure_admin, set_password
from dispatcher.access.roles import Role
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.platform.gateway import ApiGateway
from tests.fakes import FakeGateway

AGENT = "k8s-dev-1"
KEY = "0123456789abcdef" * 4
KEY_ID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
Run = Callable[..., Any]


class Context:
    """What Lambda tells a function of its invocation."""

    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:function"
    aws_request_id = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"

    def get_remaining_time_in_millis(self) -> int:
        """Leave a minute."""
        return 60_000


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """The gateway that the functions post to."""
    fake = FakeGateway()
    monkeypatch.setattr(ApiGateway, "from_environment", staticmethod(lambda: fake))
    return fake


@pytest.fixture
def run(database_url: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Run]:
    """Run a function by name, with its sample event unless another is given."""
    del gateway
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("TOKEN_SECRET", "7" * 64)
    monkeypatch.setenv("ADMIN_PASSWORD", "correct horse")
    monkeypatch.setenv("FLUSH_FUNCTION", "FlushFunction")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Test")
    monkeypatch.setattr(database, "_kept", None)
    modules: dict[str, ModuleType] = {}

    def call(function: str, event: Any = None) -> Any:
        if function not in modules:
            modules[function] = load(root / "functions" / function / "app.py")
        return modules[function].handler(sample(root, function) if event is None else event, Context())

    yield call
    kept = database._kept  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the environment ends here
    if kept is not None:
        kept.close()


def load(path: Path) -> ModuleType:
    """Load a function's file, as Lambda does."""
    spec = importlib.util.spec_from_file_location(f"function_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample(root: Path, function: str) -> Any:
    """Read a function's sample event."""
    return json.loads((root / "events" / f"{function}.json").read_text())


@pytest.fixture
def agent(conn: Connection) -> str:
    """An approved agent with a key, away."""
    conn.execute("insert into agents (agent_id, platform) values (%s, 'kubernetes')", (AGENT,))
    conn.execute(
        "insert into agent_keys (key_id, agent_id, key_hash, created_by) values (%s, %s, %s, 'admin')",
        (KEY_ID, AGENT, key_hash(KEY)),
    )
    return AGENT


@pytest.fixture
def operators(conn: Connection) -> None:
    """One operator of each role, with the role as password."""
    ensure_admin(conn, "correct horse")
    for role in Role:
        set_password(conn, f"the-{role}", role, role)


def request(
    method: str,
    path: str,
    body: Any = None,
    *,
    role: Role | None = Role.ADMIN,
    raw: str | None = None,
    labels: Any = None,
    **headers: str,
) -> dict[str, Any]:
    """Build an HTTP event as API Gateway does, of an operator with this role."""
    context: dict[str, Any] = {"http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}, "stage": "$default"}
    if role is not None:
        context["authorizer"] = {
            "lambda": {"username": f"the-{role}", "role": str(role)}
            | ({"labels": json.dumps(labels)} if labels else {})
        }
    path, _, query = path.partition("?")
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "queryStringParameters": dict(pair.split("=", 1) for pair in query.split("&")) if query else None,
        "headers": {"content-type": "application/json"}
        | {name.replace("_", "-"): text for name, text in headers.items()},
        "requestContext": context,
        "body": raw if raw is not None else None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
