"""The overview: what is stuck and what has just changed, at any size of the fleet."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import CDPSession, Response, Route, expect

from local.http_client import Client
from tests.console.screen import Screen
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import Dispatcher, until

AGENTS = 10_000
REQUESTS_MOST = 14
ELEMENTS_MOST = 3_000
BYTES_MOST = 100_000
SECONDS_MOST = 20
"""How many times the browser's work for a single agent a full page may take; it takes three to six times."""


@pytest.fixture(scope="module")
def large(dispatcher: Dispatcher) -> Iterator[None]:
    """Ten thousand offline agents, for each of which a command waits; they are gone afterwards."""
    with dispatcher.database() as conn:
        conn.execute(
            """
            insert into agents (agent_id, platform, approval)
            select 'crowd-' || n, 'linux', 'approved' from generate_series(1, %s) n
            """,
            (AGENTS,),
        )
        conn.execute(
            """
            insert into agent_commands (agent_id, action, created_at)
            select 'crowd-' || n, 'restart', now() - n * interval '1 second' from generate_series(1, %s) n
            """,
            (AGENTS,),
        )
        conn.execute("analyze agents, agent_commands")
        yield
        conn.execute("delete from agent_commands where agent_id like 'crowd-%'")
        conn.execute("delete from agents where agent_id like 'crowd-%'")


def mute(dispatcher: Dispatcher, client: Client, name: str, since: str) -> Agent:
    """Connect an agent that says nothing, for which a command has waited for so long."""
    key = client.post("/api/v1/agents", {"agentId": name, "platform": "linux"})["apiKey"]
    agent = Agent(dispatcher.url, name, key)
    with dispatcher.database() as conn:
        conn.execute("update agents set spoke = false, mute_connections = 2 where agent_id = %s", (name,))
        conn.execute(
            "insert into agent_commands (agent_id, action, created_at) values (%s, 'restart', now() - %s::interval)",
            (name, since),
        )
    return agent


@pytest.mark.usefixtures("large")
def test_the_stuck_one_of_ten_thousand_is_found_explained_and_mended(
    visit: Callable[..., Screen], dispatcher: Dispatcher, client: Client
) -> None:
    """It is the first one that one sees: connected agents before those that are only offline."""
    agent = mute(dispatcher, client, "stuck-one", "9 s")
    screen = visit("/console/")

    first = screen.page.get_by_role("table", name="Agents for which commands wait").get_by_role("row").nth(1)
    expect(first).to_contain_text("stuck-one")
    expect(first).to_contain_text("has said nothing since it was sent a command")
    first.get_by_role("link", name="stuck-one").click()
    screen.see("Restart the agent's process.")
    agent.socket.send('{"type": "heartbeat", "payload": {"status": "online"}}')

    expect(screen.page.locator(".why")).to_contain_text("Nothing waits")
    agent.close()


@pytest.mark.usefixtures("large")
def test_a_page_costs_no_more_in_a_fleet_of_ten_thousand(
    visit: Callable[..., Screen], new_agent: Callable[..., str]
) -> None:
    """The same requests as for a single agent, at most a list's elements, and work of the browser by what is shown.

    No clock: the browser's own work is compared with its work for the single agent, in the same run.
    """
    new_agent(only="this")
    screen = visit("/console/")
    single = {
        "agents": cost(screen, "/console/agents?selector=only%3Dthis"),
        "commands": cost(screen, "/console/commands?agentId=crowd-1&status=pending"),
    }
    many = {
        "overview": cost(screen, "/console/"),
        "agents": cost(screen, "/console/agents?selector=%21only"),
        "commands": cost(screen, "/console/commands?status=pending"),
    }

    assert {name: many[name].requests for name in single} == {name: each.requests for name, each in single.items()}
    assert len(many["overview"].requests) <= REQUESTS_MOST
    assert {name: each for name, each in many.items() if each.elements > ELEMENTS_MOST or each.bytes > BYTES_MOST} == {}
    least = min(each.seconds for each in single.values())
    assert {name: each.seconds / least for name, each in many.items() if each.seconds > SECONDS_MOST * least} == {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a page takes until it shows its data."""

    requests: list[str]
    """To the API, without the feed and the session."""
    bytes: int
    elements: int
    seconds: float
    """Of the browser, for scripts and layout; the least of three visits."""


def cost(screen: Screen, address: str) -> Cost:
    """Open an address three times."""
    devtools = screen.page.context.new_cdp_session(screen.page)
    devtools.send("Performance.enable")
    visits = [_visit(screen, devtools, address) for _ in range(3)]
    devtools.detach()
    return replace(visits[-1], seconds=min(visit.seconds for visit in visits))


def _visit(screen: Screen, devtools: CDPSession, address: str) -> Cost:
    answers: list[Response] = []

    def hear(answer: Response) -> None:
        if re.search(r"/api/v1/(?!events|auth)", answer.url):
            answers.append(answer)

    screen.page.goto("about:blank")  # ends what the page before it still asks for
    screen.page.on("response", hear)
    screen.open(address)
    screen.page.remove_listener("response", hear)
    return Cost(
        requests=sorted(urlsplit(answer.url).path for answer in answers),
        bytes=sum(answer.request.sizes()["responseBodySize"] for answer in answers),
        elements=screen.page.locator("*").count(),
        seconds=_work(devtools),
    )


def _work(devtools: CDPSession) -> float:
    """Return the seconds since the page began to load."""
    answer = cast("dict[str, Any]", devtools.send("Performance.getMetrics"))
    measured: dict[str, float] = {each["name"]: each["value"] for each in answer["metrics"]}
    return sum(measured[name] for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))


def test_the_oldest_due_command_is_not_none_while_the_list_shows_one(
    visit: Callable[..., Screen], dispatcher: Dispatcher, client: Client
) -> None:
    """The service's figure is of its last check; the list is of now."""
    agent = mute(dispatcher, client, "due-one", "3 days")
    screen = visit("/console/agents")

    def before_the_check(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "oldestDueSeconds": 0})

    screen.page.route("**/api/v1/overview", before_the_check)
    screen.open("/console/")

    expect(screen.page.get_by_role("table", name="Agents for which commands wait")).to_contain_text("due-one")
    expect(screen.page.get_by_role("link", name="Oldest due")).to_contain_text("3 d")
    agent.close()
    client.call("DELETE", "/api/v1/agents/due-one")


def test_what_has_just_changed_is_known_when_the_page_opens(
    visit: Callable[..., Screen], dispatcher: Dispatcher, client: Client
) -> None:
    """Of agents and of commands, the newest first; one can choose the kind, and the address has it."""
    key = client.post("/api/v1/agents", {"agentId": "changes", "platform": "linux"})["apiKey"]
    command_id = client.post("/api/v1/agents/changes/commands", {"action": "restart"})["commandId"]
    agent = Agent(dispatcher.url, "changes", key)
    until(lambda: client.get(f"/api/v1/commands/{command_id}")["status"] == "completed")
    agent.close()
    screen = visit("/console/")
    changes = screen.page.locator(".changes li")

    expect(changes.filter(has_text="changes").filter(has_text="disconnected")).to_have_count(1)
    expect(changes.filter(has_text=command_id).filter(has_text="completed")).to_have_count(1)
    assert screen.page.locator(".changes").get_by_text("sent", exact=True).count() == 0
    screen.page.get_by_role("link", name="Agents", exact=True).last.click()
    expect(changes.filter(has_text=command_id)).to_have_count(0)
    client.post("/api/v1/agents", {"agentId": "newcomer", "platform": "linux"})

    expect(changes.first).to_contain_text("newcomer")
    assert screen.page.url.endswith("/console/?changes=agents")


def test_the_reason_leads_to_the_command_that_is_in_the_way(
    visit: Callable[..., Screen], dispatcher: Dispatcher, client: Client
) -> None:
    """Its id in the sentence is a link."""
    key = client.post("/api/v1/agents", {"agentId": "silent", "platform": "linux"})["apiKey"]
    agent = Agent(dispatcher.url, "silent", key, lambda _: [])
    path = "/api/v1/agents/silent/commands"
    first, second = (client.post(path, {"action": "restart"})["commandId"] for _ in range(2))
    screen = visit(f"/console/commands/{second}")

    screen.see("The agent has not yet answered command")
    screen.page.locator(".why").get_by_role("link", name=first).first.click()

    expect(screen.page.get_by_role("heading", level=1)).to_have_text(first)
    screen.see("the agent has until")
    agent.close()
