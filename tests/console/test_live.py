"""The page follows the feed: without a reload, not in a hidden tab, and over a restart of the service."""

import re
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Route, expect

from local.http_client import Client
from tests.console.screen import Screen
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import Dispatcher


def test_what_happens_elsewhere_is_shown_without_a_reload(
    visit: Callable[..., Screen], client: Client, dispatcher: Dispatcher
) -> None:
    """A command is seen waiting, and completed as soon as its agent connects."""
    key = client.post("/api/v1/agents", {"agentId": "comes-late", "platform": "linux"})["apiKey"]
    screen = visit("/console/commands?agentId=comes-late")
    screen.see("No command matches")

    command_id = client.post("/api/v1/agents/comes-late/commands", {"action": "restart"})["commandId"]
    expect(screen.row(command_id)).to_contain_text("pending")
    screen.open(f"/console/commands/{command_id}")
    screen.see("pending")
    agent = Agent(dispatcher.url, "comes-late", key)

    expect(screen.page.locator(".lead")).to_contain_text("completed")
    expect(screen.page.get_by_role("img", name=re.compile("executing: attempt 1"))).to_be_visible()
    agent.close()


def test_a_hidden_tab_asks_for_nothing_and_catches_up_when_it_is_seen_again(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """It says that it is paused."""
    agent_id = new_agent()
    screen = visit(f"/console/commands?agentId={agent_id}")
    expect(screen.page.locator(".live")).to_contain_text("Live")
    screen.page.wait_for_load_state("networkidle")

    _set_hidden(screen, hidden=True)
    expect(screen.page.locator(".live")).to_contain_text("Paused")
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(request.url))
    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "restart"})["commandId"]
    screen.page.wait_for_timeout(3_000)  # longer than the period of the feed
    assert asked == []
    _set_hidden(screen, hidden=False)

    expect(screen.row(command_id)).to_be_visible()
    expect(screen.page.locator(".live")).to_contain_text("Live")


def _set_hidden(screen: Screen, *, hidden: bool) -> None:
    """Browsers without a window hide no tab: the page is told so."""
    screen.page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_file_that_could_not_be_had_is_asked_for_again(
    new_context: Callable[..., BrowserContext], dispatcher: Dispatcher
) -> None:
    """Lambda may refuse some of the files that a browser asks for at once: the page still opens."""
    page = new_context().new_page()
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if len(refused) < 2:
            refused.append(route.request.url)
            route.fulfill(status=503)
        else:
            route.continue_()

    page.route(re.compile(r"/(parts|live)\.js$"), refuse_once)
    page.goto(f"{dispatcher.url}/console/")

    expect(page.get_by_label("Username")).to_be_visible()
    assert len(refused) == 2


def test_the_page_outlives_a_restart_of_the_service(
    visit: Callable[..., Screen], new_agent: Callable[..., str], dispatcher: Dispatcher
) -> None:
    """It says that it is cut off and since when, keeps what it shows, and goes on by itself."""
    agent_id = new_agent()
    screen = visit("/console/agents")
    screen.see(agent_id)

    dispatcher.stop()
    expect(screen.page.locator(".live")).to_contain_text("Cut off, as of")
    screen.see(agent_id)
    dispatcher.start()
    later = dispatcher.client().post("/api/v1/agents", {"agentId": "created-later", "platform": "linux"})["agentId"]

    expect(screen.page.locator(".live")).to_contain_text("Live", timeout=30_000)
    screen.see(later)
