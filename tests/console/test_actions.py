"""Each action of the page: what it does, and that it is in the audit log with its reason."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from pytest_httpserver import HTTPServer

from local.http_client import Client, Refused
from tests.console.fill import let_agents_wait
from tests.console.screen import Screen
from tests.e2e.conftest import Agent
from tests.e2e.dispatcher_process import PASSWORD, Dispatcher

REASON = "ticket 17: “über” & <b>"
Submit = Callable[..., str]


@pytest.fixture
def submit(client: Client) -> Submit:
    """Submit a command; return its id."""

    def post(agent_id: str, action: str = "restart", **more: Any) -> str:
        command_id: str = client.post(f"/api/v1/agents/{agent_id}/commands", {"action": action, **more})["commandId"]
        return command_id

    return post


@pytest.fixture
def logged(client: Client) -> Callable[[str], dict[str, Any]]:
    """Return the newest entry of the audit log for an action, which has the reason of this test."""

    def newest(action: str) -> dict[str, Any]:
        entries = client.get("/api/v1/audit?limit=20")["entries"]
        entry: dict[str, Any] = next(entry for entry in entries if entry["action"] == action)
        assert entry["detail"]["reason"] == REASON
        return entry

    return newest


def test_an_agent_is_created_approved_rejected_and_deleted(
    visit: Callable[..., Screen], client: Client, logged: Callable[[str], dict[str, Any]]
) -> None:
    """Its key is shown once."""
    screen = visit("/console/agents")

    screen.button("Create an agent").click()
    screen.confirm("Create", REASON, Id="made-here", Labels="env=test, zone=eu-1")
    assert len(screen.secret()) == 64
    expect(screen.page.get_by_role("heading", level=1)).to_have_text("made-here")
    assert client.get("/api/v1/agents/made-here")["labels"] == {"env": "test", "zone": "eu-1"}
    assert logged("provide agent")["agentId"] == "made-here"
    screen.button("Reject this agent").click()
    screen.confirm("Reject", REASON)
    screen.see("made-here is rejected.")
    assert logged("agent rejected")["agentId"] == "made-here"
    screen.button("Approve this agent").click()
    screen.confirm("Approve", REASON)
    screen.see("made-here is approved.")
    assert logged("agent approved")["agentId"] == "made-here"
    screen.open("/console/agents?search=made-here")
    screen.page.get_by_role("button", name="Actions for made-here").click()
    screen.page.get_by_role("dialog").get_by_role("button", name="Delete this agent").click()
    screen.confirm("Delete", REASON)
    screen.see("made-here is deleted.")
    expect(screen.row("made-here")).to_have_count(0)
    assert logged("delete agent")["agentId"] == "made-here"


def test_a_hundred_agents_are_approved_and_get_new_keys_at_once(
    visit: Callable[..., Screen], client: Client, logged: Callable[[str], dict[str, Any]]
) -> None:
    """All that match, not only those of the page; where one fails, the others are done and it is named."""
    ids = let_agents_wait(client, 100)
    search = ids[0].rpartition("-")[0]
    screen = visit(f"/console/agents?search={search}&limit=20")
    dialog = screen.page.get_by_role("dialog")

    screen.button("Approve all that wait and match…").click()
    expect(dialog).to_contain_text("and 90 more")
    screen.confirm("Approve 100", REASON)
    screen.see("100 agents are approved.")
    client.post(f"/api/v1/agents/{ids[7]}/keys", None)
    screen.button("Give all that match a new key…").click()
    screen.confirm("Make 100 keys", REASON)
    expect(dialog.get_by_role("heading")).to_have_text("99 new keys")
    lines = dialog.locator(".secret").inner_text().split("\n")
    with screen.page.expect_download() as download:
        dialog.get_by_role("button", name="Save as a file").click()
    dialog.get_by_role("button", name="I have saved them").click()
    expect(dialog.get_by_role("heading")).to_have_text("1 failed")
    expect(dialog).to_contain_text(ids[7])
    dialog.get_by_role("button", name="Close").click()

    assert {line.partition(" ")[0] for line in lines} == {*ids} - {ids[7]}
    assert download.value.path().read_text() == "\n".join(lines)
    agents = client.get(f"/api/v1/agents?search={search}&limit=200")["agents"]
    assert {agent["approval"] for agent in agents} == {"approved"}
    assert logged("issue key")["agentId"] in ids


def test_labels_are_edited_where_they_are_shown(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client, logged: Callable[[str], dict[str, Any]]
) -> None:
    """With the keyboard; a mistake is said while typing, and what somebody else changes meanwhile is not overwritten."""
    agent_id = new_agent(env="test", old="yes", note="a, b")
    path = f"/api/v1/agents/{agent_id}"
    screen = visit(f"/console/agents?search={agent_id}")
    keyboard, row = screen.page.keyboard, screen.row(agent_id)
    field = row.get_by_label("Labels, as name=value")
    edit = row.get_by_role("button", name=f"Edit the labels of {agent_id}")

    edit.focus()
    keyboard.press("Enter")
    expect(field).to_be_focused()
    expect(field).to_have_value('env=test, old=yes, note="a, b"')
    assert screen.barriers() == []
    field.fill("env")
    expect(row).to_contain_text("“env” is no label")
    expect(row.get_by_role("button", name="Save")).to_be_disabled()
    keyboard.press("Escape")
    expect(edit).to_be_focused()
    row.locator(".label").first.click()
    field.fill('env=prod, zone=eu-1, note="a, b"')
    client.call("PATCH", path, {"labels": {"env": "their", "tier": "1"}})
    row.get_by_label("Reason").fill(REASON)
    row.get_by_label("Reason").press("Enter")
    expect(row.get_by_role("alert")).to_contain_text("env=their")
    expect(field).to_have_value('env=prod, note="a, b", tier=1, zone=eu-1')
    field.press("Enter")
    screen.see(f"The labels of {agent_id} are saved.")

    expect(row).to_contain_text("zone=eu-1")
    assert client.get(path)["labels"] == {"env": "prod", "note": "a, b", "tier": "1", "zone": "eu-1"}
    assert logged("change agent")["agentId"] == agent_id


def test_a_label_that_is_named_as_what_every_object_has_is_removed(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """Also on top of what somebody else has changed meanwhile."""
    agent_id = new_agent(constructor="a", toString="b", env="test")
    path = f"/api/v1/agents/{agent_id}"
    screen = visit(f"/console/agents?search={agent_id}")
    row = screen.row(agent_id)

    row.get_by_role("button", name=f"Edit the labels of {agent_id}").click()
    field = row.get_by_label("Labels, as name=value")
    field.fill("env=test")
    client.call("PATCH", path, {"labels": {"toString": None, "valueOf": "c"}})
    field.press("Enter")
    expect(field).to_have_value("env=test, valueOf=c")
    field.press("Enter")
    screen.see(f"The labels of {agent_id} are saved.")

    assert client.get(path)["labels"] == {"env": "test", "valueOf": "c"}


def test_a_key_is_rotated(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client, logged: Callable[[str], dict[str, Any]]
) -> None:
    """The new key is shown once, then the old one is revoked."""
    agent_id = new_agent()
    (old,) = client.get(f"/api/v1/agents/{agent_id}/keys")["keys"]
    screen = visit(f"/console/agents/{agent_id}")

    screen.button("Give it a new key").click()
    screen.confirm("Make a key", REASON)
    assert len(screen.secret()) == 64
    screen.see(f"{agent_id} has a new key.")
    assert logged("issue key")["agentId"] == agent_id
    screen.row(old["keyId"]).get_by_role("button", name="Revoke").click()
    screen.confirm("Revoke", REASON)

    expect(screen.row(old["keyId"])).to_have_count(0)
    assert logged("revoke key")["agentId"] == agent_id


def test_a_command_is_cancelled_and_redriven(
    visit: Callable[..., Screen],
    new_agent: Callable[..., str],
    submit: Submit,
    client: Client,
    logged: Callable[[str], dict[str, Any]],
) -> None:
    """Why it waits and what would unblock it are shown; the redriven command names the old one."""
    command_id = submit(new_agent(), payload={"service": "web"})
    screen = visit(f"/console/commands/{command_id}")
    screen.see("To unblock it:")

    screen.button("Cancel this command").click()
    screen.confirm("Cancel the command", REASON)
    screen.see("The command is cancelled.")
    assert logged("cancel command")["commandId"] == command_id
    screen.button("Redrive this command").click()
    screen.confirm("Redrive", REASON)
    screen.see("This is the new command")

    made = screen.page.get_by_role("heading", level=1).inner_text()
    assert client.get(f"/api/v1/commands/{made}")["redriveOf"] == command_id
    assert logged("submit command")["commandId"] == made


def test_a_command_is_copied_for_a_shell(
    visit: Callable[..., Screen], new_agent: Callable[..., str], submit: Submit
) -> None:
    """The lines can be pasted: quotes in the payload stay quotes."""
    agent_id = new_agent()
    command_id = submit(agent_id, "say", payload={"text": "it's"})
    screen = visit(f"/console/commands/{command_id}", permissions=["clipboard-read", "clipboard-write"])

    screen.button("Copy as dispatcher").click()
    screen.see("Copied: Copy as dispatcher.")

    copied = screen.page.evaluate("navigator.clipboard.readText()")
    assert copied == f"""dispatcher send {agent_id} say --payload '{{"text":"it'\\''s"}}'"""


def test_all_that_match_are_cancelled_and_redriven_after_the_service_counted_them(
    visit: Callable[..., Screen],
    new_agent: Callable[..., str],
    submit: Submit,
    client: Client,
    logged: Callable[[str], dict[str, Any]],
) -> None:
    """If one more matches meanwhile, nothing is done, and the dialog says so."""
    agent_id = new_agent()
    for _ in range(60):
        submit(agent_id, "bulk")
    screen = visit(f"/console/commands?agentId={agent_id}&status=pending")
    dialog = screen.page.get_by_role("dialog")

    screen.button("Cancel all that match…").click()
    expect(dialog.get_by_role("heading")).to_have_text("Cancel 60 commands?")
    submit(agent_id, "one-more")
    dialog.get_by_role("button", name="Cancel 60").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    screen.page.keyboard.press("Escape")
    screen.button("Cancel all that match…").click()
    screen.confirm("Cancel 61", REASON)
    screen.see("61 commands are cancelled")
    logged("cancel commands")
    screen.open(f"/console/commands?agentId={agent_id}&status=cancelled&action=bulk")
    screen.button("Redrive all that match…").click()
    screen.confirm("Redrive 60", REASON)
    screen.see("60 commands are submitted again.")

    logged("redrive commands")
    assert client.get(f"/api/v1/agents/{agent_id}")["pendingCount"] == 60


def test_a_command_is_sent_to_one_agent_and_to_all_with_a_label(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client, logged: Callable[[str], dict[str, Any]]
) -> None:
    """JSON is checked as it is typed, and whom it reaches is shown before."""
    agents = [new_agent(fleet="send") for _ in range(3)]
    screen = visit(f"/console/send?agentId={agents[0]}")
    send = screen.button("Send…")

    screen.page.get_by_label("Action").fill("restart")
    screen.page.get_by_label("Payload").fill('{"service": ')
    screen.see("This is no JSON")
    expect(send).to_be_disabled()
    screen.page.get_by_label("Payload").fill('{"service": "web"}')
    screen.see("It reaches 1 agent; 1 offline, for which it waits.")
    send.click()
    screen.confirm("Send", REASON)
    screen.see("Accepted:")
    assert logged("submit command")["agentId"] == agents[0]
    screen.page.get_by_label("Or all with these labels").fill("fleet=send")
    screen.page.get_by_label("Or all with these labels").press("Tab")
    screen.see("It reaches 3 agents; 3 offline")
    send.click()
    screen.confirm("Send to 3 agents", REASON)
    screen.see("Accepted: 3 commands.")

    assert [client.get(f"/api/v1/agents/{agent_id}")["pendingCount"] for agent_id in agents] == [2, 1, 1]


def test_a_bad_selector_is_said_where_it_is_written(visit: Callable[..., Screen]) -> None:
    """The message names the place, and the page stays as it is."""
    screen = visit("/console/send?selector=env%3D%3D%3Dprod")

    expect(screen.page.get_by_role("alert")).to_contain_text("selector")
    expect(screen.button("Send…")).to_be_disabled()


def test_operators_and_tokens_are_managed(
    visit: Callable[..., Screen], dispatcher: Dispatcher, logged: Callable[[str], dict[str, Any]]
) -> None:
    """A created operator can log in until disabled; tokens are shown once, listed and revoked."""
    screen = visit("/console/operators")

    screen.button("Create an operator").click()
    screen.confirm("Create", REASON, Username="night-shift", Password=PASSWORD * 2, Only_agents="env=prod")
    screen.see("The operator is created.")
    assert logged("put operator")["detail"]["labels"] == {"env": "prod"}
    screen.row("night-shift").get_by_role("button", name="Change").click()
    screen.page.get_by_role("dialog").get_by_label("Role").select_option("sender")
    screen.confirm("Save", REASON, Password=PASSWORD * 3)
    screen.see("night-shift is changed.")
    changed = logged("put operator")
    assert (changed["detail"]["role"], changed["detail"]["labels"]) == ("sender", {"env": "prod"})
    Client.log_in(dispatcher.url, "night-shift", PASSWORD * 3)
    screen.row("night-shift").get_by_role("button", name="Disable").click()
    screen.confirm("Disable", REASON)
    screen.see("night-shift is disabled.")
    logged("disable operator")
    with pytest.raises(Refused):
        Client.log_in(dispatcher.url, "night-shift", PASSWORD * 3)

    screen.button("Create an API token").click()
    screen.confirm("Create", REASON, Name="nightly")
    token = screen.secret()
    assert Client(url=dispatcher.url, token=token).get("/api/v1/auth/session")["username"] == "admin"
    screen.row("nightly").get_by_role("button", name="Revoke").click()
    screen.confirm("Revoke", REASON)
    screen.see("nightly is revoked.")
    logged("revoke token")

    screen.button("Create an enrolment token").click()
    screen.confirm("Create", REASON, Beginning="gate-", Uses="5")
    assert len(screen.secret()) == 64
    screen.row("gate-…").get_by_role("button", name="Revoke").click()
    screen.confirm("Revoke", REASON)
    screen.see("The enrolment token is revoked.")
    expect(screen.row("gate-…")).to_have_count(0)
    logged("revoke enrolment token")


def test_a_session_is_hibernated_woken_and_stopped(
    visit: Callable[..., Screen], client: Client, dispatcher: Dispatcher, logged: Callable[[str], dict[str, Any]]
) -> None:
    """Each is a command for its agent; the page shows the state that the agent's answer makes."""
    key = client.post("/api/v1/agents", {"agentId": "desktops", "platform": "docker"})["apiKey"]
    with dispatcher.database() as conn:
        conn.execute(
            """
            insert into sessions (name, agent_id, owner, template, resources, persistent_home, state)
            values ('alice-1', 'desktops', 'alice', 'firefox', '{}', false, 'running')
            """
        )
    states = {"hibernate_session": "hibernated", "wake_session": "running", "stop_session": "terminated"}
    agent = Agent(
        dispatcher.url,
        "desktops",
        key,
        lambda command: [
            answer("ack", command),
            answer("complete", command, result={"state": states[command["action"]]}),
        ],
    )
    screen = visit("/console/sessions")
    row = screen.row("alice-1")

    for name, (action, state) in zip(("Hibernate", "Wake", "Stop"), states.items(), strict=True):
        row.get_by_role("button", name=name).click()
        screen.confirm(name, REASON)
        screen.see(f"The agent of alice-1 is asked to {name.lower()} it.")
        expect(row.locator(".badge")).to_contain_text(state)
        newest = client.get("/api/v1/commands?agentId=desktops&limit=1")["commands"][0]
        assert newest["action"] == action
    expect(row.get_by_role("button")).to_have_count(0)
    agent.close()
    logged("submit command")


def answer(kind: str, command: dict[str, Any], **said: Any) -> dict[str, Any]:
    """Answer a command as the first agents do."""
    return {"type": kind, "payload": {"commandId": command["commandId"], **said}}


def test_a_webhook_is_created_tested_and_deleted(
    visit: Callable[..., Screen], httpserver: HTTPServer, logged: Callable[[str], dict[str, Any]]
) -> None:
    """What came of the test is shown, and each try is listed."""
    httpserver.expect_request("/hook").respond_with_data("thank you", status=503)
    screen = visit("/console/webhooks")

    screen.button("Create a webhook").click()
    screen.confirm("Create", REASON, URL=httpserver.url_for("/hook"), Types="command.dead")
    assert screen.secret().startswith("whsec_")
    expect(screen.page.get_by_role("heading", level=1)).to_have_text("Webhook")
    screen.button("Send a test").click()
    screen.confirm("Send a test", REASON)
    screen.see("The test failed")
    expect(screen.row("webhook.test")).to_contain_text("failed")
    screen.button("Make a new secret").click()
    screen.confirm("Make a secret", REASON)
    assert screen.secret().startswith("whsec_")
    screen.button("Disable").click()
    screen.confirm("Disable", REASON)
    screen.see("The webhook is disabled.")
    screen.button("Enable").click()
    screen.confirm("Enable", REASON)
    screen.see("The webhook is enabled.")
    screen.button("Delete").click()
    screen.confirm("Delete", REASON)

    expect(screen.page.get_by_role("heading", level=1)).to_have_text("Webhooks")
    assert httpserver.log
    logged("delete webhook")


def test_the_audit_log_shows_who_did_what_and_why(
    visit: Callable[..., Screen], new_agent: Callable[..., str], client: Client
) -> None:
    """It is filtered by the agent in the address."""
    agent_id = new_agent()
    client.post(f"/api/v1/agents/{agent_id}/approve", None, audit_reason="known%20machine")

    screen = visit(f"/console/audit?agentId={agent_id}")

    expect(screen.row("agent approved")).to_contain_text("known machine")
    expect(screen.row("provide agent")).to_have_count(1)
