"""Everything with the keyboard: the palette, dialogs, and where the focus is."""

from collections.abc import Callable

from playwright.sync_api import expect

from local.http_client import Client
from tests.console.screen import Screen


def test_the_palette_finds_pages_agents_and_commands(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """`k` and Ctrl-K open it; Enter goes where the arrow keys point to."""
    agent_id = new_agent()
    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "restart"})["commandId"]
    screen = visit()
    keyboard, heading = screen.page.keyboard, screen.page.get_by_role("heading", level=1)
    choices = screen.page.get_by_role("dialog").get_by_role("option")

    keyboard.press("k")
    keyboard.type("comm")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowUp")
    keyboard.press("Enter")
    expect(heading).to_have_text("Commands")
    keyboard.press("Control+k")
    keyboard.type(command_id)
    expect(choices).to_have_count(1)
    assert screen.barriers() == []
    keyboard.press("Enter")
    expect(heading).to_have_text(command_id)
    keyboard.press("k")
    keyboard.type(agent_id)
    expect(choices.first).to_contain_text(agent_id)
    keyboard.press("Enter")
    expect(heading).to_have_text(agent_id)
    expect(heading).to_be_focused()


def test_a_dialog_gives_the_focus_back_and_escape_changes_nothing(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """The reason has the focus, and the button that opened the dialog has it afterwards."""
    agent_id = new_agent()
    command_id = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "restart"})["commandId"]
    screen = visit(f"/console/commands/{command_id}")
    cancel = screen.button("Cancel this command")

    cancel.focus()
    screen.page.keyboard.press("Enter")
    expect(screen.page.get_by_label("Reason")).to_be_focused()
    assert screen.barriers() == []
    screen.page.keyboard.press("Escape")

    expect(cancel).to_be_focused()
    assert client.get(f"/api/v1/commands/{command_id}")["status"] == "pending"


def test_a_letter_in_a_field_is_a_letter(visit: Callable[..., Screen]) -> None:
    """`k` opens the palette only outside of fields; `/` goes to the filters."""
    screen = visit("/console/agents")

    screen.page.keyboard.press("/")
    screen.page.keyboard.type("k")

    expect(screen.page.get_by_label("Id contains")).to_have_value("k")
    expect(screen.page.get_by_role("dialog")).to_have_count(0)


def test_a_row_in_focus_stays_the_row_of_its_agent(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """Whoever presses Enter acts on what they saw, also if the list has changed meanwhile."""
    agent_id = new_agent()
    client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "restart"})
    screen = visit(f"/console/agents/{agent_id}")
    latest = screen.page.get_by_role("table", name="Latest commands").get_by_role("link")
    seen = latest.first.inner_text()
    latest.first.focus()

    newer = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": "upgrade"})["commandId"]
    expect(latest.first).to_have_text(newer)
    screen.page.keyboard.press("Enter")

    expect(screen.page.get_by_role("heading", level=1)).to_have_text(seen)
