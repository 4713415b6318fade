"""Each page: it opens at its address, for each role, on each screen, and nothing on it is a barrier."""

from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from local.http_client import Client
from tests.console.fill import HOSTILE
from tests.console.screen import Screen
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher

PAGES = {
    "/console/": "Overview",
    "/console/agents": "Agents",
    "/console/commands": "Commands",
    "/console/send": "Send a command",
    "/console/sessions": "Sessions",
    "/console/webhooks": "Webhooks",
    "/console/operators": "Operators and tokens",
    "/console/audit": "Audit log",
}


@pytest.fixture(scope="module")
def hostile(client: Client, dispatcher: Dispatcher) -> str:
    """A command whose agent, payload, error and result are what an attacker would choose; return its id."""
    agent_id = "hostile-1"
    body = {"agentId": agent_id, "platform": HOSTILE[0], "labels": {"note": HOSTILE[1], "name": HOSTILE[2]}}
    client.post("/api/v1/agents", body)
    command = client.post(
        f"/api/v1/agents/{agent_id}/commands", {"action": HOSTILE[0], "payload": {"say": list(HOSTILE)}}
    )
    with dispatcher.database() as conn:
        conn.execute(
            """
            update agent_commands
            set status = 'dead', error_message = %s, result = to_jsonb(%s::text), cause = %s
            where command_id = %s
            """,
            (HOSTILE[0] * 40, HOSTILE[4] + HOSTILE[0], HOSTILE[2], command["commandId"]),
        )
        # An agent of before the rule for ids.
        conn.execute("insert into agents (agent_id, platform) values (%s, 'linux')", (HOSTILE[0],))
    command_id: str = command["commandId"]
    return command_id


@pytest.fixture(scope="module")
def addresses(hostile: str, client: Client) -> dict[str, str]:
    """The address and the heading of each page, also of one agent and one command."""
    body = {"url": "http://127.0.0.1:9/hook", "description": HOSTILE[0]}
    webhook_id = client.post("/api/v1/webhooks", body)["webhookId"]
    return PAGES | {
        "/console/agents/hostile-1": "hostile-1",
        f"/console/commands/{hostile}": hostile,
        f"/console/webhooks/{webhook_id}": "Webhook",
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_page_opens_at_its_address_and_has_no_barrier(
    visit: Callable[..., Screen], addresses: dict[str, str], theme: str
) -> None:
    """axe-core finds nothing, on pages whose texts come from a hostile agent."""
    screen = visit(color_scheme=theme)
    for address, heading in addresses.items():
        screen.open(address)
        expect(screen.page.get_by_role("heading", level=1)).to_have_text(heading)
        assert screen.page.title() == f"{heading} · Agent Command Dispatcher"
        # The theme changes nothing but colours.
        assert screen.barriers("color-contrast" if theme == "dark" else None) == [], address
    screen.page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert len(screen.barriers()) == 1  # it finds what is there


# A chart follows the window in a later frame, by its ResizeObserver.
SCROLL_WIDTH = """(width) => new Promise((done) => {
    const end = performance.now() + 5000;
    const look = () => {
        const found = document.documentElement.scrollWidth;
        if (found <= width || performance.now() > end) done(found);
        else requestAnimationFrame(look);
    };
    look();
})"""


def test_no_page_is_wider_than_the_screen(visit: Callable[..., Screen], addresses: dict[str, str]) -> None:
    """From a phone to a wall of screens, also with names of ten thousand letters."""
    screen = visit()
    for address in addresses:
        screen.open(address)
        for width in (360, 768, 1280, 2560):
            screen.page.set_viewport_size({"width": width, "height": 800})
            assert screen.page.evaluate(SCROLL_WIDTH, width) <= width, (address, width)


def test_what_agents_say_is_shown_as_it_is_and_never_as_markup(visit: Callable[..., Screen], hostile: str) -> None:
    """Neither an element nor a link comes from it."""
    screen = visit(f"/console/commands/{hostile}")
    screen.see(HOSTILE[0])
    for address in (
        f"/console/commands/{hostile}",
        "/console/commands",
        "/console/agents",
        "/console/agents/hostile-1",
    ):
        screen.open(address)
        assert screen.page.locator("main img").count() == 0
        assert screen.page.locator("a[href^='javascript:']").count() == 0
    screen.open(f"/console/agents/{quote(HOSTILE[0], safe='')}")
    expect(screen.page.get_by_role("heading", level=1)).to_have_text(HOSTILE[0])


def test_a_reader_sees_no_action(
    visit: Callable[..., Screen], addresses: dict[str, str], new_operator: Callable[..., str]
) -> None:
    """Nothing on a page can be changed; pages that need more rights say whom to ask."""
    screen = visit(username=new_operator("reader"), password=PASSWORD * 2)
    allowed = {"Try again", "Copy as dispatcher", "Copy as curl", "Create an API token", "Clear"}
    for address in addresses:
        if "/webhooks/" in address:
            continue  # only an admin may see it
        screen.open(address)
        shown = {button.inner_text() for button in screen.page.locator("main button").all()}
        assert shown <= allowed, address
    screen.open("/console/audit")
    screen.see("You may not read the audit log")
    screen.open("/console/send")
    screen.see("You may not send")
    screen.open("/console/webhooks")
    screen.see("You may not see webhooks")


def test_a_label_limit_hides_other_agents_and_their_commands(
    visit: Callable[..., Screen], new_operator: Callable[..., str], new_agent: Callable[..., str], client: Client
) -> None:
    """For such an operator they do not exist."""
    mine, other = new_agent(team="blue"), new_agent(team="red")
    commands = {
        agent_id: client.post(f"/api/v1/agents/{agent_id}/commands", {"action": f"for-{agent_id}"})["commandId"]
        for agent_id in (mine, other)
    }
    screen = visit("/console/agents", username=new_operator("admin", team="blue"), password=PASSWORD * 2)

    screen.see(mine)
    assert screen.row(other).count() == 0
    screen.open("/console/commands")
    screen.see(f"for-{mine}")
    assert screen.row(f"for-{other}").count() == 0
    screen.open(f"/console/commands/{commands[other]}")
    expect(screen.page.get_by_role("alert")).to_contain_text("your label limit does not include it")


def test_filters_complete_from_values_that_occur(
    visit: Callable[..., Screen], new_agent: Callable[..., str], new_operator: Callable[..., str], client: Client
) -> None:
    """From all that the operator may see, not only from what the page shows; of a selector, the last part."""
    agent_id, other = new_agent(crew="day", floor="9"), new_agent(crew="night")
    client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "complete-me"})
    client.post(f"/api/v1/agents/{other}/commands", {"action": "complete-others"})
    screen = visit("/console/commands?status=dead", username=new_operator("reader", crew="day"), password=PASSWORD * 2)

    def offers(label: str, name: str, typed: str, *expected: str) -> None:
        screen.page.get_by_label(label, exact=True).press_sequentially(typed)
        options = screen.page.locator(f"#values-{name} option")
        expect(options).to_have_count(len(expected))
        assert [option.get_attribute("value") for option in options.all()] == [*expected]

    offers("Action", "action", "complete", "complete-me")
    offers("Agent", "agentId", "agent", agent_id)
    offers("Submitted by", "submittedBy", "adm", "admin")
    offers("Agent's labels", "selector", "crew=day, flo", "crew=day, floor", "crew=day, floor=9")
    statuses = screen.page.get_by_label("Status").locator("option").all_inner_texts()
    assert {"pending", "dead", "timed_out", "not ended"} <= {*statuses}


def test_the_filters_are_in_the_address(visit: Callable[..., Screen], new_agent: Callable[..., str]) -> None:
    """A reload, the way back and a copy of the address show the same list."""
    wanted, other = new_agent(kind="wanted"), new_agent(kind="other")
    screen = visit("/console/agents?selector=kind")
    labels = screen.page.get_by_label("Labels", exact=True)
    screen.see(other)

    labels.fill("kind=wanted")
    labels.press("Enter")
    expect(screen.row(other)).to_have_count(0)
    screen.page.reload()
    screen.ready()

    expect(screen.row(wanted)).to_have_count(1)
    expect(screen.row(other)).to_have_count(0)
    screen.page.go_back()
    expect(screen.row(other)).to_have_count(1)
