"""A right that was taken away is gone at the next request, and whatever was made with it."""

import time
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import (
    COMMANDS,
    LIST,
    LOGIN,
    REGISTER,
    Run,
    as_bearer,
    ask,
    operator_of,
    token_of,
)
from tests.rows import statuses

pytestmark = pytest.mark.usefixtures("operators")
EU, US = {"region": "eu"}, {"region": "us"}
PASSWORD = "long enough it is"
OTHER_PASSWORD = "another one of that length"
TOKENS = "/api/v1/tokens"
ENROLMENT = "/api/v1/enrolment-tokens"


def put(run: Run, name: str, role: str = "admin", password: str = PASSWORD, labels: Any = None) -> int:
    """Create or change an operator as an admin."""
    body = {"password": password, "role": role, "labels": labels}
    return ask(run, "operators", "PUT", f"/api/v1/operators/{name}", body)[0]


def log_in(run: Run, name: str, password: str = PASSWORD) -> str:
    """Log in and return the token."""
    status, body = ask(run, "operators", "POST", LOGIN, {"username": name, "password": password}, role=None)
    assert status == 200, body
    token: str = body["token"]
    return token


def make_token(run: Run, bearer: str, role: str = "reader", **options: Any) -> tuple[int, Any]:
    """Create an API token with another token."""
    body = {"name": "ci", "role": role, **options}
    return ask(run, "operators", "POST", TOKENS, body, role=None, **as_bearer(bearer))


CHANGES: dict[str, dict[str, Any]] = {
    "another password": {"password": OTHER_PASSWORD},
    "a lower role": {"role": "reader"},
    "a label limit": {"labels": EU},
}


@pytest.mark.parametrize("change", CHANGES)
def test_fewer_rights_end_every_token_of_before(run: Run, change: str) -> None:
    """Tokens of log-ins, API tokens and enrolment tokens; new ones are valid."""
    put(run, "eve")
    token = log_in(run, "eve")
    api_token = make_token(run, token, "admin")[1]["token"]
    enrolment = ask(run, "agents", "POST", ENROLMENT, {"prefix": "e-"}, role=None, **as_bearer(token))[1]["token"]
    assert operator_of(run, token)["username"] == operator_of(run, api_token)["username"] == "eve"

    assert put(run, "eve", **CHANGES[change]) == 200

    body = {"agentId": "e-1", "platform": "p"}
    assert operator_of(run, token) == {}
    assert operator_of(run, api_token) == {}
    assert ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=enrolment)[0] == 401
    again = log_in(run, "eve", CHANGES[change].get("password", PASSWORD))
    assert operator_of(run, again)["username"] == "eve"
    assert ask(run, "operators", "GET", TOKENS, role=None, **as_bearer(again))[1]["tokens"] == []


def test_more_rights_or_the_same_end_no_token(run: Run) -> None:
    """They count at the next request."""
    put(run, "eve", "reader", labels={**EU, "tier": "1"})
    token = log_in(run, "eve")

    for role, labels in (("reader", {**EU, "tier": "1"}), ("sender", EU), ("admin", EU), ("admin", None)):
        put(run, "eve", role, labels=labels)
        expected = {"username": "eve", "role": role} | ({} if labels is None else {"labels": labels})
        assert operator_of(run, token) == expected


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("kind", ["log-in", "API token"])
@pytest.mark.parametrize("change", ["log-out", "revoked", "disabled", *CHANGES])
def test_a_command_is_accepted_only_while_the_token_counts(run: Run, conn: Connection, kind: str, change: str) -> None:
    """The statement that stores it reads the rights; whoever has none learns nothing about the body either."""
    put(run, "eve")
    login = log_in(run, "eve")
    api_token = make_token(run, login, "sender")[1]
    bearer = as_bearer(login if kind == "log-in" else api_token["token"])

    def submit(body: Any) -> int:
        return ask(run, "commands", "POST", COMMANDS, body, role=None, **bearer)[0]

    before = [submit({"action": "noop"}), submit({})]
    if change == "log-out":
        ask(run, "operators", "DELETE", "/api/v1/auth/session", role=None, **as_bearer(login))
    elif change == "revoked":
        ask(run, "operators", "DELETE", f"{TOKENS}/{api_token['tokenId']}", role=None, **as_bearer(login))
    elif change == "disabled":
        ask(run, "operators", "DELETE", "/api/v1/operators/eve")
    else:
        put(run, "eve", **CHANGES[change])
    after = [submit({"action": "noop"}), submit({})]

    stands = (kind, change) in {("log-in", "revoked"), ("API token", "log-out")}
    assert before == [202, 422]
    assert after == ([202, 422] if stands else [401, 401])
    assert len(statuses(conn)) == (2 if stands else 1)


@pytest.mark.usefixtures("agent")
def test_an_api_token_of_a_reader_submits_nothing(run: Run) -> None:
    """Its owner is an admin."""
    put(run, "eve")
    token = make_token(run, log_in(run, "eve"), "reader")[1]["token"]

    status, problem = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, role=None, **as_bearer(token))

    assert (status, problem["detail"]) == (403, "This needs the role sender; yours is reader.")


def test_a_disabled_operator_cannot_log_in_and_old_tokens_stay_dead_when_the_name_is_made_anew(run: Run) -> None:
    """With the same password, role and labels."""
    put(run, "eve", "sender")
    token = log_in(run, "eve")
    api_token = make_token(run, token)[1]["token"]

    disabled = ask(run, "operators", "DELETE", "/api/v1/operators/eve")[0]
    refused = ask(run, "operators", "POST", LOGIN, {"username": "eve", "password": PASSWORD}, role=None)[0]
    after = [operator_of(run, each) for each in (token, api_token)]
    put(run, "eve", "sender")

    assert (disabled, refused, after) == (204, 401, [{}, {}])
    assert [operator_of(run, each) for each in (token, api_token)] == [{}, {}]
    assert operator_of(run, log_in(run, "eve"))["username"] == "eve"


def test_tokens_of_the_second_of_the_change_are_told_apart(run: Run, conn: Connection) -> None:
    """One that was issued a moment before is refused, one of a moment after is accepted."""
    conn.execute("update operators set valid_after = date_trunc('second', now()) + interval '0.5 s'")
    row = conn.execute("select extract(epoch from valid_after)::float8 from operators limit 1").fetchone()
    assert row is not None
    changed_at: float = row[0]

    before = token_of("the-sender", issued_at=changed_at - 0.000_001)
    after = token_of("the-sender", issued_at=changed_at)

    assert operator_of(run, before) == {}
    assert operator_of(run, after) == {"username": "the-sender", "role": "sender"}


def test_the_clock_of_a_function_may_be_behind_the_one_of_the_database(run: Run) -> None:
    """A token says when it was issued by the database's clock."""
    assert operator_of(run, token_of("the-sender", issued_at=time.time() + 30))["username"] == "the-sender"


def test_a_refusal_names_the_next_step(run: Run) -> None:
    """The caller logs in again, and does not search for another mistake."""
    put(run, "eve")
    token = log_in(run, "eve")
    put(run, "eve", password=OTHER_PASSWORD)

    status, problem = ask(run, "commands", "GET", LIST, role=None, **as_bearer(token))

    assert (status, problem["detail"]) == (401, "Your password or your rights were changed; log in again.")


def test_an_api_token_makes_no_token_beyond_its_own_role_and_life(run: Run, conn: Connection) -> None:
    """Neither directly nor in several steps; an enrolment token ends with it too."""
    put(run, "eve")
    parent = make_token(run, log_in(run, "eve"), "admin", ttlSeconds=60)[1]
    child_status, child = make_token(run, parent["token"], "sender", ttlSeconds=31_536_000)
    above, _ = make_token(run, child["token"], "admin")
    grandchild = make_token(run, child["token"], "reader")[1]
    ask(run, "agents", "POST", ENROLMENT, {"prefix": "e-"}, role=None, **as_bearer(parent["token"]))

    assert child_status == 201
    assert above == 403
    assert child["expiresAt"] <= parent["expiresAt"]
    assert grandchild["expiresAt"] <= parent["expiresAt"]
    assert conn.execute(
        "select e.expires_at <= t.expires_at from enrolment_tokens e join api_tokens t on t.token_id = e.made_with[1]"
    ).fetchone() == (True,)


def test_an_api_token_sets_no_password_with_which_it_could_go_on(run: Run) -> None:
    """Of its own operator or of a new one; it can read who there is."""
    put(run, "eve")
    token = as_bearer(make_token(run, log_in(run, "eve"), "admin", ttlSeconds=60)[1]["token"])
    body = {"password": OTHER_PASSWORD, "role": "admin"}

    answers = [
        ask(run, "operators", "PUT", "/api/v1/operators/eve", body, role=None, **token)[0],
        ask(run, "operators", "PUT", "/api/v1/operators/mallory", body, role=None, **token)[0],
        ask(run, "operators", "DELETE", "/api/v1/operators/the-admin", role=None, **token)[0],
        ask(run, "operators", "GET", "/api/v1/operators", role=None, **token)[0],
    ]

    assert answers == [403, 403, 403, 200]


@pytest.mark.parametrize("name", ["\x00", "\udcff", "%00", "x" * 10_000, "\U0010ffff"])
def test_an_odd_name_in_a_path_is_the_callers_error(run: Run, name: str) -> None:
    """It is never an error of the service."""
    body = {"password": PASSWORD, "role": "reader"}

    for method in ("PUT", "DELETE"):
        status, _ = ask(run, "operators", method, f"/api/v1/operators/{name}", body)
        assert 400 <= status < 500


def test_a_token_dies_with_the_one_that_made_it(run: Run) -> None:
    """At once, and over several steps; so does an enrolment token."""
    put(run, "eve")
    login = log_in(run, "eve")
    parent = make_token(run, login, "admin")[1]
    child = make_token(run, parent["token"], "admin")[1]["token"]
    grandchild = make_token(run, child)[1]["token"]
    enrolment = ask(run, "agents", "POST", ENROLMENT, {"prefix": "e-"}, role=None, **as_bearer(child))[1]["token"]
    assert operator_of(run, grandchild)["username"] == "eve"

    ask(run, "operators", "DELETE", f"{TOKENS}/{parent['tokenId'].upper()}", role=None, **as_bearer(login))

    body = {"agentId": "e-1", "platform": "p"}
    assert [operator_of(run, token) for token in (parent["token"], child, grandchild)] == [{}, {}, {}]
    assert operator_of(run, login)["username"] == "eve"
    assert ask(run, "operators", "GET", TOKENS, role=None, **as_bearer(login))[1]["tokens"] == []
    assert ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=enrolment)[0] == 401


def test_an_api_token_revokes_itself_and_what_it_made_and_nothing_above_it(run: Run) -> None:
    """A reader's token of an admin does not revoke the admin's."""
    put(run, "eve")
    login = log_in(run, "eve")
    admin, reader = make_token(run, login, "admin")[1], make_token(run, login)[1]
    child = make_token(run, reader["token"])[1]

    def revoke(token: Any, bearer: str) -> int:
        return ask(run, "operators", "DELETE", f"{TOKENS}/{token['tokenId']}", role=None, **as_bearer(bearer))[0]

    assert revoke(admin, reader["token"]) == 403
    assert revoke(reader, child["token"]) == 403
    assert revoke(child, reader["token"]) == 204
    assert revoke(reader, reader["token"]) == 204
    assert operator_of(run, admin["token"])["username"] == "eve"
    assert revoke(admin, login) == 204


def test_the_audit_log_says_with_which_api_token_something_was_done(run: Run) -> None:
    """A token that leaked is found by what it did."""
    put(run, "eve")
    token = make_token(run, log_in(run, "eve"), "admin")[1]

    ask(
        run,
        "agents",
        "POST",
        "/api/v1/agents",
        {"agentId": "a1", "platform": "p"},
        role=None,
        **as_bearer(token["token"]),
    )

    entries = ask(run, "operators", "GET", "/api/v1/audit?actor=eve")[1]["entries"]
    assert [(entry["action"], entry["tokenId"]) for entry in entries] == [
        ("provide agent", token["tokenId"]),
        ("make token", None),
        ("log in", None),
    ]


@pytest.mark.parametrize("path", ["operators", "tokens", "enrolment-tokens", "audit"])
def test_lists_are_paged(run: Run, path: str) -> None:
    """Each entry once, and no cursor after the last page."""
    for number in range(3):
        put(run, f"eve-{number}", "reader")
        ask(run, "operators", "POST", TOKENS, {"name": f"ci-{number}", "role": "reader"})
        ask(run, "agents", "POST", ENROLMENT, {"prefix": f"e{number}-"})
    function = "agents" if path == "enrolment-tokens" else "operators"
    plural = {"enrolment-tokens": "enrolmentTokens", "audit": "entries"}.get(path, path)

    whole = ask(run, function, "GET", f"/api/v1/{path}")[1]
    pieces: list[Any] = []
    cursor = ""
    while cursor is not None:
        status, page = ask(run, function, "GET", f"/api/v1/{path}?limit=1" + (f"&cursor={cursor}" if cursor else ""))
        assert status == 200
        pieces += page[plural]
        cursor = page["nextCursor"]

    assert len(whole[plural]) >= 3
    assert pieces == whole[plural]
    assert whole["nextCursor"] is None
    assert ask(run, function, "GET", f"/api/v1/{path}?limit=201")[0] == 422
    assert ask(run, function, "GET", f"/api/v1/{path}?cursor=!")[0] == 422


def test_only_roles_that_may_see_tokens_see_them(run: Run) -> None:
    """Enrolment tokens are admins' business."""
    for role in (Role.READER, Role.SENDER):
        assert ask(run, "agents", "GET", ENROLMENT, role=role)[0] == 403
        assert ask(run, "agents", "DELETE", f"{ENROLMENT}/none", role=role)[0] == 403
