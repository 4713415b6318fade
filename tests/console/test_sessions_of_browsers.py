"""Who may see the page: log-in, log-out, and rights that end."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Route, expect

from local.http_client import Client
from tests.console.fill import let_agents_wait
from tests.console.screen import Screen
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher


def test_the_root_leads_to_the_form_and_the_form_to_the_overview(
    new_context: Callable[..., BrowserContext], dispatcher: Dispatcher
) -> None:
    """A wrong password is said in the form, and the right one shows the page."""
    page = new_context().new_page()

    page.goto(dispatcher.url)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("wrong")
    page.get_by_label("Password").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The username or the password is wrong.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Password").press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    assert page.url == f"{dispatcher.url}/console/"


def test_no_script_can_read_the_session_and_a_log_out_ends_it_at_once(
    visit: Callable[..., Screen], new_context: Callable[..., BrowserContext], dispatcher: Dispatcher
) -> None:
    """A copy of the cookie is worth nothing after the log-out."""
    screen = visit()
    (cookie,) = screen.page.context.cookies()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
    assert screen.page.evaluate("document.cookie") == ""
    assert cookie.get("value", "") not in screen.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")

    screen.page.get_by_role("button", name="Log out").click()
    expect(screen.page.get_by_label("Username")).to_be_visible()

    copy = new_context()
    copy.add_cookies([{"name": cookie.get("name", ""), "value": cookie.get("value", ""), "url": dispatcher.url}])
    assert copy.request.get(f"{dispatcher.url}/api/v1/agents").status == 401


def test_rights_that_are_taken_away_end_the_session_and_a_new_log_in_goes_on_at_the_same_page(
    visit: Callable[..., Screen], new_operator: Callable[..., str], client: Client
) -> None:
    """The form is shown, and says why; the address stays."""
    name = new_operator("sender")
    screen = visit("/console/commands?status=dead", username=name, password=PASSWORD * 2)

    client.call("PUT", f"/api/v1/operators/{name}", {"password": PASSWORD * 3, "role": "reader", "labels": None})
    expect(screen.page.get_by_role("alert")).to_contain_text("Your session has ended")
    screen.page.get_by_label("Username").fill(name)
    screen.page.get_by_label("Password").fill(PASSWORD * 3)
    screen.page.get_by_role("button", name="Log in", exact=True).click()

    screen.ready()
    assert screen.page.url.endswith("/console/commands?status=dead")
    expect(screen.page.locator("header .role")).to_have_text("reader")


def test_keys_that_were_made_are_shown_although_the_session_ends_meanwhile(
    visit: Callable[..., Screen], new_operator: Callable[..., str], client: Client
) -> None:
    """Nothing closes the dialog while it works: what it has made can be read only there."""
    name = new_operator("admin")
    search = let_agents_wait(client, 6)[0].rpartition("-")[0]
    screen = visit(f"/console/agents?search={search}", username=name, password=PASSWORD * 2)
    dialog = screen.page.get_by_role("dialog")
    asked: list[Route] = []

    def hold(route: Route) -> None:
        asked.append(route)
        if len(asked) <= 2:
            route.continue_()

    screen.page.route("**/keys", hold)
    screen.button("Give all that match a new key…").click()
    dialog.get_by_role("button", name="Make 6 keys").click()
    expect(dialog).to_contain_text("2 of 6")
    expect(dialog.get_by_role("button", name="Back")).to_be_disabled()
    screen.page.keyboard.press("Escape")
    screen.page.keyboard.press("Escape")
    expect(dialog).to_contain_text("2 of 6")
    client.call("PUT", f"/api/v1/operators/{name}", {"password": PASSWORD * 3, "role": "admin", "labels": None})
    for route in asked[2:]:
        route.continue_()

    expect(dialog.get_by_role("heading")).to_have_text("2 new keys")
    assert [len(line.split(" ")[1]) for line in dialog.locator(".secret").inner_text().split("\n")] == [64, 64]
    dialog.get_by_role("button", name="I have saved them").click()
    expect(dialog.get_by_role("heading")).to_have_text("4 failed")
    dialog.get_by_role("button", name="Close").click()
    expect(screen.page.get_by_role("alert")).to_contain_text("Your session has ended")


def test_a_secret_stays_until_it_is_saved_although_the_session_ends(
    visit: Callable[..., Screen], new_operator: Callable[..., str], new_agent: Callable[..., str], client: Client
) -> None:
    """It is shown once; a dialog without one is closed."""
    name = new_operator("admin")
    screen = visit(f"/console/agents/{new_agent()}", username=name, password=PASSWORD * 2)

    screen.button("Give it a new key").click()
    screen.confirm("Make a key")
    client.call("PUT", f"/api/v1/operators/{name}", {"password": PASSWORD * 3, "role": "admin", "labels": None})
    expect(screen.page.locator("[role=alert]")).to_contain_text("Your session has ended")

    assert len(screen.secret()) == 64
    screen.page.get_by_label("Username").fill(name)


def test_what_is_written_outlives_the_session_and_is_not_sent_twice(
    visit: Callable[..., Screen], new_operator: Callable[..., str], new_agent: Callable[..., str], client: Client
) -> None:
    """The answer is lost and the session ends: after a new log-in, the same is sent again under the same key."""
    name = new_operator("sender")
    agents = [new_agent(fleet="outlives") for _ in range(2)]
    screen = visit("/console/send?selector=fleet%3Doutlives", username=name, password=PASSWORD * 2)
    action = screen.page.get_by_label("Action")
    action.fill("restart")
    screen.page.get_by_label("Payload").fill('{"service": "web"}')
    screen.page.get_by_text("Limits", exact=True).click()
    screen.page.get_by_label("Priority").fill("7")

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    screen.page.route("**/api/v1/commands", lose_the_answer)
    screen.button("Send…").click()
    dialog = screen.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Send to 2 agents").click()
    expect(dialog.get_by_role("alert")).to_contain_text("cannot be reached")
    client.call("PUT", f"/api/v1/operators/{name}", {"password": PASSWORD * 3, "role": "sender", "labels": None})
    expect(screen.page.get_by_role("alert")).to_contain_text("Your session has ended")
    screen.page.unroute("**/api/v1/commands")
    screen.page.get_by_label("Username").fill(name)
    screen.page.get_by_label("Password").fill(PASSWORD * 3)
    screen.page.get_by_role("button", name="Log in", exact=True).click()
    expect(action).to_have_value("restart")
    expect(screen.page.get_by_label("Payload")).to_have_value('{"service": "web"}')
    expect(screen.page.get_by_label("Priority")).to_have_value("7")
    screen.button("Send…").click()
    screen.confirm("Send to 2 agents")
    screen.see("Accepted: 2 commands.")

    (command,) = client.get(f"/api/v1/commands?agentId={agents[0]}")["commands"]
    assert command["priority"] == 7
    assert client.get(f"/api/v1/agents/{agents[1]}")["pendingCount"] == 1
    screen.open("/console/send?selector=fleet%3Doutlives")
    expect(action).to_have_value("")


def test_what_is_typed_in_a_dialog_or_in_place_outlives_the_session(
    visit: Callable[..., Screen], new_operator: Callable[..., str], new_agent: Callable[..., str], client: Client
) -> None:
    """It is there again after the log-in, but never a password; what was given up or done is not."""
    name, agent = new_operator("admin"), new_agent(env="prod")
    screen = visit("/console/operators", username=name, password=PASSWORD * 2)
    dialog = screen.page.get_by_role("dialog")
    fields = ("Username", "Only agents with these labels; empty: all agents", "Reason")
    in_place = screen.page.get_by_role("form", name=f"Labels of {agent}").get_by_role("textbox")

    def end_the_session(number: int) -> None:
        body = {"password": PASSWORD * number, "role": "admin", "labels": None}
        client.call("PUT", f"/api/v1/operators/{name}", body)
        expect(screen.page.get_by_role("alert").last).to_contain_text("Your session has ended")
        screen.page.get_by_label("Username").fill(name)
        screen.page.get_by_label("Password").fill(PASSWORD * number)
        screen.page.get_by_role("button", name="Log in", exact=True).click()
        screen.ready()

    screen.button("Create an operator").click()
    for label in fields:
        dialog.get_by_label(label).fill("env=typed")
    dialog.get_by_label("Password").fill("never-kept-anywhere")
    dialog.get_by_label("Role").select_option("sender")
    end_the_session(3)
    assert "never-kept-anywhere" not in screen.page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    screen.button("Create an operator").click()
    for label in fields:
        expect(dialog.get_by_label(label)).to_have_value("env=typed")
    expect(dialog.get_by_label("Role")).to_have_value("sender")
    expect(dialog.get_by_label("Password")).to_have_value("")
    dialog.get_by_role("button", name="Back").click()
    screen.button("Create an operator").click()
    expect(dialog.get_by_label("Reason")).to_have_value("")
    dialog.get_by_role("button", name="Back").click()

    screen.open(f"/console/agents?search={agent}")
    screen.button(f"Edit the labels of {agent}").click()
    in_place.first.fill("env=typed")
    in_place.last.fill("because of the test")
    end_the_session(4)
    expect(in_place.first).to_have_value("env=typed")
    expect(in_place.last).to_have_value("because of the test")
    in_place.last.press("Enter")
    screen.see(f"The labels of {agent} are saved.")
    assert client.get(f"/api/v1/agents/{agent}")["labels"] == {"env": "typed"}
    screen.open(f"/console/agents?search={agent}")
    expect(in_place).to_have_count(0)
