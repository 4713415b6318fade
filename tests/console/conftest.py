"""The operators' page in a real browser: one browser and one dispatcher for all tests.

`make test-console` names the browser and the folder of its tools; without them these tests are not collected.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from local.http_client import Client
from tests.conftest import scratch
from tests.console.issuer import CLIENT, Issuer
from tests.console.issuer import issuer as running_issuer
from tests.console.screen import PATIENCE, Screen
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher, up

BROWSER = os.environ.get("CONSOLE_BROWSER")
if not BROWSER:
    collect_ignore_glob = ["test_*.py"]

_numbers = count(1)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, env=environment())
        yield chromium
        chromium.close()


def environment() -> dict[str, str | float | bool]:
    """The browser's environment: npm's Chromium brings libraries and fonts for machines that lack them."""
    folder = Path(BROWSER or "").parent
    # Without a language, browsers name one that does not exist.
    variables: dict[str, str | float | bool] = {**os.environ, "LANG": "C"}
    if "not found" in subprocess.run(["ldd", BROWSER or ""], capture_output=True, text=True, check=False).stdout:
        variables["LD_LIBRARY_PATH"] = str(folder / "al2023" / "lib")
    if not Path("/etc/fonts/fonts.conf").exists():
        variables["FONTCONFIG_PATH"] = str(folder / "fonts")
    return variables


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """The OpenID Connect issuer of the dispatcher."""
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="session")
def dispatcher(issuer: Issuer) -> Iterator[Dispatcher]:
    """A dispatcher that sweeps each second."""
    settings = {
        "DISPATCHER_SWEEP_SECONDS": "1",
        "DISPATCHER_WEBHOOKS_PRIVATE": "1",
        "DISPATCHER_OIDC_ISSUER": issuer.url,
        "DISPATCHER_OIDC_AUDIENCE": CLIENT,
        "DISPATCHER_OIDC_CLIENT_ID": CLIENT,
    }
    with scratch() as home, up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def client(dispatcher: Dispatcher) -> Client:
    """An admin, over the API."""
    return dispatcher.client()


@pytest.fixture
def new_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Open browser profiles, which are closed at the end."""
    opened: list[BrowserContext] = []

    def create(width: int = 1280, **options: object) -> BrowserContext:
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        opened.append(context)
        return context

    yield create
    for context in opened:
        context.close()


@pytest.fixture
def visit(new_context: Callable[..., BrowserContext], dispatcher: Dispatcher) -> Iterator[Callable[..., Screen]]:
    """Log in as an operator in a new profile; whatever the browser complains about fails the test."""
    screens: list[Screen] = []

    def log_in(path: str = "/console/", username: str = "admin", password: str = PASSWORD, **options: object) -> Screen:
        page: Page = new_context(**options).new_page()
        screen = Screen(page, dispatcher.url)
        screens.append(screen)
        screen.log_in(username, password, path)
        return screen

    yield log_in
    for screen in screens:
        assert screen.complaints == []


@pytest.fixture
def new_agent(client: Client) -> Callable[..., str]:
    """Create agents; return their ids."""

    def create(**labels: str) -> str:
        agent_id = f"agent-{next(_numbers)}"
        client.post("/api/v1/agents", {"agentId": agent_id, "platform": "linux", "labels": labels})
        return agent_id

    return create


@pytest.fixture
def new_operator(client: Client) -> Callable[..., str]:
    """Create operators, whose password is PASSWORD twice; return their names."""

    def create(role: str, **labels: str) -> str:
        name = f"{role}-{next(_numbers)}"
        client.call(
            "PUT", f"/api/v1/operators/{name}", {"password": PASSWORD * 2, "role": role, "labels": labels or None}
        )
        return name

    return create
