"""Sessions of browsers: what a cookie is good for, and what it is not."""

import json
from typing import Any

import pytest

from dispatcher.access.operators import ensure_admin
from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, ask, request

SESSION = "/api/v1/auth/session"
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def admin(conn: Connection) -> None:
    """An admin with a password."""
    ensure_admin(conn, PASSWORD)


def log_in(run: Run, **headers: str) -> tuple[str, str, str]:
    """Log in; return the cookie as the browser sends it, the token for changes, and the header that set the cookie."""
    body = {"username": "admin", "password": PASSWORD}
    answer = run("operators", request("POST", SESSION, body, role=None, **headers))
    assert answer["statusCode"] == 200, answer
    said: str = answer["headers"]["Set-Cookie"]
    return said.partition(";")[0], json.loads(answer["body"])["csrfToken"], said


def send(run: Run, method: str, path: str, cookie: str, body: Any = None, **headers: str) -> int:
    """Send a request with a cookie, as API Gateway passes it on; return the status."""
    event = request(method, path, body, role=None, **headers) | {"cookies": [cookie]}
    function = "operators" if "/auth/" in path or "/tokens" in path else "agents"
    status: int = run(function, event)["statusCode"]
    return status


def test_the_cookie_is_for_this_site_and_for_no_script(run: Run) -> None:
    """Over https the browser sends it over nothing else, and no other host of the domain can set it."""
    _, _, plain = log_in(run)
    _, _, secure = log_in(run, x_forwarded_proto="https")

    for said in (plain, secure):
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {*said.split("; ")}
        assert "Domain" not in said
    assert "Secure" not in plain
    assert secure.startswith("__Host-")
    assert "Secure" in secure.split("; ")


def test_a_cookie_changes_something_only_with_the_token_of_its_session(run: Run) -> None:
    """It reads without it.  The token of another session is no good."""
    cookie, token, _ = log_in(run)
    _, other, _ = log_in(run)
    agent = {"agentId": "a9", "platform": "linux"}

    assert send(run, "GET", "/api/v1/agents", cookie) == 200
    assert send(run, "POST", "/api/v1/agents", cookie, agent) == 403
    assert send(run, "POST", "/api/v1/agents", cookie, agent, x_csrf_token=other) == 403
    assert send(run, "POST", "/api/v1/agents", cookie, agent, x_csrf_token=token) == 201


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_of_another_site_is_refused(run: Run, site: str) -> None:
    """Also with a token that was stolen, and also a log-in, which would put its own account under the operator."""
    cookie, token, _ = log_in(run)

    assert send(run, "GET", "/api/v1/agents", cookie, sec_fetch_site=site) == 403
    assert send(run, "DELETE", SESSION, cookie, sec_fetch_site=site, x_csrf_token=token) == 403
    body = {"username": "admin", "password": PASSWORD}
    assert run("operators", request("POST", SESSION, body, role=None, sec_fetch_site=site))["statusCode"] == 403
    assert send(run, "GET", "/api/v1/agents", cookie, sec_fetch_site="same-origin") == 200


def test_a_log_out_ends_this_log_in_and_no_other(run: Run, conn: Connection) -> None:
    """It is in the audit log, and the browser is told to forget the cookie."""
    cookie, token, _ = log_in(run)
    other, _, _ = log_in(run)

    answer = run("operators", request("DELETE", SESSION, role=None, x_csrf_token=token) | {"cookies": [cookie]})

    assert answer["statusCode"] == 204
    assert "Max-Age=0" in answer["headers"]["Set-Cookie"]
    assert send(run, "GET", "/api/v1/agents", cookie) == 401
    assert send(run, "GET", "/api/v1/agents", other) == 200
    actions = [row[0] for row in conn.execute("select action from audit_log order by audit_id").fetchall()]
    assert actions[-1] == "log out"


def test_a_token_of_a_program_ends_with_a_log_out_too_and_an_api_token_does_not(run: Run) -> None:
    """`DELETE /api/v1/auth/session` ends what a log-in gave."""
    status, document = ask(
        run, "operators", "POST", "/api/v1/auth/login", {"username": "admin", "password": PASSWORD}, role=None
    )
    assert status == 200
    bearer = {"Authorization": f"Bearer {document['token']}"}
    made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=None, **bearer)[1]

    by_api_token = ask(run, "operators", "DELETE", SESSION, role=None, Authorization=f"Bearer {made['token']}")
    ended = ask(run, "operators", "DELETE", SESSION, role=None, **bearer)
    after = ask(run, "operators", "GET", SESSION, role=None, **bearer)

    assert [by_api_token[0], ended[0], after[0]] == [403, 204, 401]
    assert after[1]["detail"] == "You have logged out; log in again."


def test_a_header_goes_before_a_cookie(run: Run) -> None:
    """A program that shows its token is not asked for the page's."""
    cookie, _, _ = log_in(run)

    assert send(run, "GET", SESSION, cookie, Authorization="Bearer wrong") == 401


def test_a_reason_is_kept_in_the_audit_log(run: Run, conn: Connection) -> None:
    """It is percent-encoded, because headers are ASCII; too long a one is refused."""
    agent = {"agentId": "a9", "platform": "linux"}

    refused, problem = ask(run, "agents", "POST", "/api/v1/agents", agent, audit_reason="x" * 1001)
    accepted, _ = ask(run, "agents", "POST", "/api/v1/agents", agent, audit_reason="f%C3%BCr%20Ticket%2017")

    assert (refused, accepted) == (422, 201)
    assert problem["errors"][0]["at"] == "header/audit-reason"
    row = conn.execute("select detail ->> 'reason' from audit_log where action = 'provide agent'").fetchone()
    assert row == ("für Ticket 17",)


def test_the_reason_of_a_submission_is_kept_for_each_command(run: Run, conn: Connection, agent: str) -> None:
    """For one command, and once for all commands of a list that are for one agent."""
    one = ask(run, "commands", "POST", f"/api/v1/agents/{agent}/commands", {"action": "restart"}, audit_reason="one")
    many = ask(
        run, "commands", "POST", "/api/v1/commands", [{"agentId": agent, "action": "restart"}] * 2, audit_reason="two"
    )
    silent = ask(run, "commands", "POST", f"/api/v1/agents/{agent}/commands", {"action": "restart"})

    assert [one[0], many[0], silent[0]] == [202, 202, 202]
    rows = conn.execute(
        "select detail -> 'reason' from audit_log where action = 'submit command' order by audit_id"
    ).fetchall()
    assert [row[0] for row in rows] == ["one", "two", None]
