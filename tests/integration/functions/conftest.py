"""Each function as it is deployed: its one file, run with a complete event, on a real database."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from dispatcher.access.credentials import key_hash
from dispatcher.access.operators import ensure_admin
from dispatcher.access.roles import Role
from dispatcher.platform import database
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.gateway import ApiGateway
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, CALLER, KEY, KEY_ID, TOKEN_SECRET, Run, sample, token_of
from tests.rows import create_agent, create_operator

PLACEHOLDER = "Bearer YOUR-TOKEN"
"""The header of the sample events that need an operator."""


class Context:
    """The context that Lambda passes to a function."""

    function_name = "function"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:function"
    aws_request_id = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"

    def get_remaining_time_in_millis(self) -> int:
        """Return one minute."""
        return 60_000


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> FakeGateway:
    """The gateway that the functions post to."""
    fake = FakeGateway()

    def from_environment(**_: Any) -> FakeGateway:
        return fake

    monkeypatch.setattr(ApiGateway, "from_environment", staticmethod(from_environment))
    return fake


@pytest.fixture
def run(database_url: str, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[Run]:
    """Run a function by name, with its sample event unless another is given."""
    del gateway
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("TOKEN_SECRET", TOKEN_SECRET)
    monkeypatch.setenv("ADMIN_PASSWORD", "correct horse")
    monkeypatch.setenv("FLUSH_FUNCTION", "FlushFunction")
    monkeypatch.setenv("WEBHOOK_FUNCTION", "WebhookFunction")
    monkeypatch.setenv("DELIVER_WEBHOOKS_FUNCTION", "DeliverWebhooksFunction")
    monkeypatch.setenv("WEBHOOK_KEY", "8" * 64)
    # Nothing listens there: no invocation leaves the test.
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "Test")
    monkeypatch.setattr(database, "_kept", None)
    modules: dict[str, ModuleType] = {}

    def call(function: str, event: Any = None) -> Any:
        if function not in modules:
            modules[function] = load(root / "functions" / function / "app.py")
        event = sample(function) if event is None else dict(event)
        caller: dict[str, Any] | None = event.pop(CALLER, None)
        if event.get("headers", {}).get("authorization") == PLACEHOLDER:
            caller = {"username": "admin", "role": "admin", "labels": None}
        if caller is not None:
            ensure_operator(database_url, **caller)
            event["headers"] = event["headers"] | {"authorization": f"Bearer {token_of(caller['username'])}"}
        return modules[function].handler(event, Context())

    yield call
    kept = database._kept  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the environment ends here
    if kept is not None:
        kept.close()


def ensure_operator(database_url: str, *, username: str, role: str, labels: dict[str, str] | None) -> None:
    """Make sure that an operator has this role and these labels; an existing one keeps the password and the tokens."""
    with open_connection(database_url) as conn:
        conn.execute(
            """
            insert into operators (username, password_hash, role, labels)
            values (%s, 'no password', %s, %s)
            on conflict (username) do update
            set role = excluded.role,
                labels = excluded.labels
            """,
            (username, role, None if labels is None else Jsonb(labels)),
        )


def load(path: Path) -> ModuleType:
    """Load a function's file, as Lambda does."""
    spec = importlib.util.spec_from_file_location(f"function_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def agent(conn: Connection) -> str:
    """An approved agent with a key, offline."""
    create_agent(conn, AGENT)
    conn.execute(
        "insert into agent_keys (key_id, agent_id, key_hash, created_by) values (%s, %s, %s, 'admin')",
        (KEY_ID, AGENT, key_hash(KEY)),
    )
    return AGENT


@pytest.fixture
def operators(conn: Connection) -> None:
    """One operator of each role, with the role as password, and the admin."""
    ensure_admin(conn, "correct horse")
    for role in Role:
        create_operator(conn, f"the-{role}", role, role)
