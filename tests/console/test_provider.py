"""Log-in at an OpenID Connect issuer, by a real one."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from tests.console.issuer import Issuer
from tests.console.screen import Screen
from tests.e2e.dispatcher_process import Dispatcher


def _log_in(page: Page, address: str, choice: str = "Log me in") -> None:
    page.goto(address)
    expect(page.get_by_role("button", name="Log in with 127.0.0.1")).to_be_visible()
    assert Screen(page, address).barriers() == []
    page.get_by_role("button", name="Log in with 127.0.0.1").click()
    page.get_by_role("link", name=choice).click()


def test_an_operator_of_the_issuer_logs_in_at_the_page_and_comes_back_to_the_same_address(
    new_context: Callable[..., BrowserContext], dispatcher: Dispatcher, issuer: Issuer
) -> None:
    """No script sees the token, the code works once, and a log-out ends the session also for a copy of its cookie."""
    issuer.claims = {"role": "sender", "labels": {"team": "blue"}}
    context = new_context()
    page = context.new_page()

    _log_in(page, f"{dispatcher.url}/console/commands?status=dead")

    expect(page.get_by_role("heading", level=1)).to_have_text("Commands")
    assert page.url == f"{dispatcher.url}/console/commands?status=dead"
    expect(page.locator("header .role")).to_have_text("sender")
    expect(page.locator("header .who")).to_contain_text("oidc:night-shift")
    assert issuer.codes == {}
    (cookie,) = context.cookies(dispatcher.url)
    name, value = cookie.get("name", ""), cookie.get("value", "")
    assert cookie.get("httpOnly")
    stored = page.evaluate("JSON.stringify({...localStorage, ...sessionStorage}) + document.cookie")
    assert value not in stored
    assert "verifier" not in stored
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Username")).to_be_visible()
    copy = new_context()
    copy.add_cookies([{"name": name, "value": value, "url": dispatcher.url}])
    assert copy.request.get(f"{dispatcher.url}/api/v1/agents").status == 401


def test_what_the_issuer_or_the_service_refuses_is_said_in_the_form(
    new_context: Callable[..., BrowserContext], dispatcher: Dispatcher, issuer: Issuer
) -> None:
    """A token without a role, a log-in that was given up, and an answer that this tab did not ask for."""
    page = new_context().new_page()
    alert = page.get_by_role("alert")

    issuer.claims = {}
    _log_in(page, f"{dispatcher.url}/console/")
    expect(alert).to_contain_text("names none of the roles")
    _log_in(page, f"{dispatcher.url}/console/agents", "Cancel")
    expect(alert).to_contain_text("access_denied")
    assert page.url == f"{dispatcher.url}/console/agents"
    page.goto(f"{dispatcher.url}/console/?code=c&state=s")
    expect(alert).to_contain_text("The log-in was not begun here")
    expect(page.get_by_label("Username")).to_be_visible()


def test_a_session_whose_token_expires_goes_on_after_a_visit_to_the_issuer(
    new_context: Callable[..., BrowserContext], dispatcher: Dispatcher, issuer: Issuer
) -> None:
    """The page goes there by itself and comes back to where it was; once a minute, so never in circles."""
    issuer.claims = {"role": "reader"}
    context = new_context()
    page = context.new_page()
    heading = page.get_by_role("heading", level=1)
    _log_in(page, f"{dispatcher.url}/console/agents?presence=offline")
    expect(heading).to_have_text("Agents")

    context.clear_cookies()  # as the browser does when the token expires
    page.wait_for_url(f"{issuer.url}/**")
    page.get_by_role("link", name="Log me in").click()
    expect(heading).to_have_text("Agents")
    assert page.url == f"{dispatcher.url}/console/agents?presence=offline"
    context.clear_cookies()

    expect(page.get_by_role("alert")).to_contain_text("Your session has ended")
    assert page.url == f"{dispatcher.url}/console/agents?presence=offline"
