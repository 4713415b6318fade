"""Operators: what their role and their labels let them do, and the record of what they did."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from psycopg import errors

from dispatcher.access.login import FREE_ATTEMPTS
from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.functions.conftest import Run, request

LOGIN = "/api/v1/auth/login"
EU, US = {"region": "eu"}, {"region": "us"}


def ask(run: Run, function: str, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    """Send a request to a function; return the status and the decoded body."""
    answer = run(function, request(method, path, body, **options))
    return answer["statusCode"], json.loads(answer["body"]) if answer.get("body") else None


@pytest.fixture
def fleet(run: Run, conn: Connection) -> None:
    """One agent in each region, each with a command and a session."""
    for name, labels in (("eu-1", EU), ("us-1", US)):
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": name, "platform": "kubernetes", "labels": labels})
        ask(run, "commands", "POST", f"/api/v1/agents/{name}/commands", {"action": "noop"})
        conn.execute("update agent_commands set command_id = 'cmd-' || agent_id where action = 'noop'")
        conn.execute("update command_history h set command_id = c.command_id from agent_commands c where h.attempt = 0")
        body = {"user": "u", "template": "t", "agentId": name}
        ask(run, "sessions", "POST", "/api/v1/sessions", body)
        conn.execute("update sessions set name = 's-' || agent_id where name not like 's-%'")


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("function", "method", "path", "body"),
    [
        ("agents", "GET", "/api/v1/agents/us-1", None),
        ("agents", "DELETE", "/api/v1/agents/us-1", None),
        ("agents", "POST", "/api/v1/agents/us-1/reject", None),
        ("agents", "GET", "/api/v1/agents/us-1/keys", None),
        ("agents", "POST", "/api/v1/agents/us-1/keys", None),
        ("agents", "DELETE", "/api/v1/agents/us-1/keys/x", None),
        ("commands", "POST", "/api/v1/agents/us-1/commands", {"action": "noop"}),
        ("commands", "POST", "/api/v1/commands", [{"agentId": "us-1", "action": "noop"}]),
        ("commands", "GET", "/api/v1/commands/cmd-us-1", None),
        ("commands", "GET", "/api/v1/commands/cmd-us-1/history", None),
        ("commands", "GET", "/api/v1/commands/cmd-us-1/why", None),
        ("commands", "POST", "/api/v1/commands/cmd-us-1/cancel", None),
        ("commands", "POST", "/api/v1/commands/cmd-us-1/redrive", None),
        ("sessions", "GET", "/api/v1/sessions/s-us-1", None),
        ("sessions", "DELETE", "/api/v1/sessions/s-us-1", None),
        ("sessions", "POST", "/api/v1/sessions", {"user": "u", "template": "t", "agentId": "us-1"}),
    ],
)
def test_for_an_operator_of_one_region_the_agents_of_another_do_not_exist(
    run: Run, function: str, method: str, path: str, body: Any
) -> None:
    """By whatever id he asks: the same 404 as for what was never there; and his own are there."""
    theirs = ask(run, function, method, path, body, labels=EU)
    own_body = json.loads(json.dumps(body).replace("us-1", "eu-1"))
    own = ask(run, function, method, path.replace("us-1", "eu-1"), own_body, labels=EU)

    assert theirs[0] == 404
    assert own[0] in {200, 201, 202, 204, 409} or path.endswith("/keys/x")


@pytest.mark.usefixtures("fleet")
def test_lists_hold_what_the_labels_admit_and_nothing_else(run: Run) -> None:
    """Decided in the query, so that pages are whole."""
    agents = ask(run, "agents", "GET", "/api/v1/agents", labels=EU)[1]["agents"]
    commands = ask(run, "commands", "GET", "/api/v1/commands", labels=EU)[1]["commands"]
    sessions = ask(run, "sessions", "GET", "/api/v1/sessions", labels=EU)[1]["sessions"]

    assert [agent["agentId"] for agent in agents] == ["eu-1"]
    assert {command["agentId"] for command in commands} == {"eu-1"}
    assert {session["agentId"] for session in sessions} == {"eu-1"}


def test_an_admin_of_one_region_provides_agents_of_that_region_only(run: Run) -> None:
    """And sees nothing of the others' affairs."""
    new = {"agentId": "x", "platform": "p"}
    without = ask(run, "agents", "POST", "/api/v1/agents", new, labels=EU)[0]
    other = ask(run, "agents", "POST", "/api/v1/agents", {**new, "labels": US}, labels=EU)[0]
    own = ask(run, "agents", "POST", "/api/v1/agents", {**new, "labels": {**EU, "tier": "1"}}, labels=EU)[0]
    token = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", {"prefix": "x"}, labels=EU)[0]
    audit = ask(run, "operators", "GET", "/api/v1/audit", labels=EU)[0]
    staff = ask(run, "operators", "PUT", "/api/v1/operators/me", {"password": "x" * 12, "role": "admin"}, labels=EU)[0]

    assert (without, other, own, token, audit, staff) == (403, 403, 201, 403, 403, 403)


READERS = [
    ("agents", "GET", "/api/v1/agents"),
    ("commands", "GET", "/api/v1/commands"),
    ("sessions", "GET", "/api/v1/sessions"),
    ("operators", "GET", "/api/v1/tokens"),
]
SENDERS = [
    ("commands", "POST", "/api/v1/agents/none/commands"),
    ("commands", "POST", "/api/v1/commands/none/cancel"),
    ("commands", "POST", "/api/v1/commands/none/redrive"),
    ("sessions", "DELETE", "/api/v1/sessions/none"),
    ("sessions", "POST", "/api/v1/sessions/none/wake"),
]
ADMINS = [
    ("agents", "DELETE", "/api/v1/agents/none"),
    ("agents", "POST", "/api/v1/agents/none/approve"),
    ("agents", "GET", "/api/v1/agents/none/keys"),
    ("agents", "POST", "/api/v1/agents/none/keys"),
    ("agents", "DELETE", "/api/v1/agents/none/keys/x"),
    ("operators", "GET", "/api/v1/operators"),
    ("operators", "DELETE", "/api/v1/operators/none"),
    ("operators", "GET", "/api/v1/audit"),
]


@pytest.mark.parametrize(
    ("needed", "function", "method", "path"),
    [(role, *route) for role, routes in zip(Role, (READERS, SENDERS, ADMINS), strict=True) for route in routes],
)
def test_each_route_wants_its_role_and_nobody_gets_in_without_one(
    run: Run, needed: Role, function: str, method: str, path: str
) -> None:
    """401 for nobody, 403 for a lesser role, and something else for who may."""
    body = {"action": "noop"} if path.endswith("/commands") and method == "POST" else None

    answers = {role: ask(run, function, method, path, body, role=role)[0] for role in (None, *Role)}

    assert answers[None] == 401
    for role in Role:
        assert (answers[role] == 403) == (not role.allows(needed)), role


@pytest.mark.usefixtures("operators")
def test_a_name_that_fails_again_and_again_has_to_wait(run: Run) -> None:
    """At that address; and who waits does not learn whether the password was right."""
    wrong = {"username": "admin", "password": "wrong"}
    right = {"username": "admin", "password": "correct horse"}
    for _ in range(FREE_ATTEMPTS):
        assert ask(run, "sessions", "POST", LOGIN, wrong, role=None)[0] == 401

    locked = run("sessions", request("POST", LOGIN, right, role=None))

    headers = {name.lower(): value for name, value in locked.get("headers", {}).items()}
    assert locked["statusCode"] == 429
    assert int(headers["retry-after"]) >= 1


@pytest.mark.usefixtures("operators")
def test_a_token_for_scripts_works_until_it_is_revoked_and_can_do_no_more_than_its_maker(run: Run) -> None:
    """Its secret is shown once, and is found nowhere afterwards."""
    above = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "admin"}, role=Role.SENDER)[0]
    status, made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=Role.SENDER)
    header = {"headers": {"authorization": f"Bearer {made['token']}"}}

    valid = run("authorize_operator", header)["context"]
    listed = ask(run, "operators", "GET", "/api/v1/tokens", role=Role.SENDER)[1]["tokens"]
    others = ask(run, "operators", "DELETE", f"/api/v1/tokens/{made['tokenId']}", role=Role.READER)[0]
    revoked = ask(run, "operators", "DELETE", f"/api/v1/tokens/{made['tokenId']}", role=Role.SENDER)[0]
    after = run("authorize_operator", header)["context"]

    assert (above, status, others, revoked) == (403, 201, 404, 204)
    assert valid == {"username": "the-sender", "role": "reader"}
    assert [token["name"] for token in listed] == ["ci"]
    assert made["token"] not in json.dumps(listed)
    assert "username" not in after


@pytest.mark.usefixtures("operators")
def test_a_disabled_operator_logs_in_no_more_and_his_tokens_are_dead(run: Run) -> None:
    """Those of the log-in too, from the next request on."""
    right = {"username": "the-sender", "password": "sender"}
    token = ask(run, "sessions", "POST", LOGIN, right, role=None)[1]["token"]
    made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=Role.SENDER)[1]

    disabled = ask(run, "operators", "DELETE", "/api/v1/operators/the-sender")[0]
    himself = ask(run, "operators", "DELETE", "/api/v1/operators/the-admin")[0]

    login = ask(run, "sessions", "POST", LOGIN, right, role=None)[0]
    contexts = [
        run("authorize_operator", {"headers": {"authorization": f"Bearer {each}"}})["context"]
        for each in (made["token"], token)
    ]
    assert (disabled, himself, login) == (204, 409, 401)
    assert not any("username" in context for context in contexts)


@pytest.mark.usefixtures("operators")
def test_an_operator_who_is_given_a_lesser_role_has_it_at_once(run: Run) -> None:
    """Whatever tokens he holds, and whatever they were made with."""
    token = ask(run, "sessions", "POST", LOGIN, {"username": "the-sender", "password": "sender"}, role=None)[1]["token"]
    made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "sender"}, role=Role.SENDER)[1]
    less = {"password": "long enough it is", "role": "reader", "labels": EU}

    ask(run, "operators", "PUT", "/api/v1/operators/the-sender", less)

    for each in (token, made["token"]):
        context = run("authorize_operator", {"headers": {"authorization": f"Bearer {each}"}})["context"]
        assert context == {"username": "the-sender", "role": "reader", "labels": json.dumps(EU)}


def test_labels_given_to_an_operator_come_with_his_token(run: Run) -> None:
    """From the log-in to the query."""
    body = {"password": "long enough it is", "role": "sender", "labels": EU}
    ask(run, "operators", "PUT", "/api/v1/operators/eve", body)
    token = ask(run, "sessions", "POST", LOGIN, {"username": "eve", "password": "long enough it is"}, role=None)[1][
        "token"
    ]

    context = run("authorize_operator", {"headers": {"authorization": f"Bearer {token}"}})["context"]

    assert context == {"username": "eve", "role": "sender", "labels": json.dumps(EU)}


def test_an_enrolment_token_makes_agents_of_its_prefix_as_often_as_it_says(run: Run, conn: Connection) -> None:
    """Each gets a key of its own; without approval it waits for an admin, whatever it was told before."""
    invitation = {"prefix": "edge-", "uses": 2, "labels": EU}
    token = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", invitation)[1]["token"]

    def register(agent_id: str, key: str) -> tuple[int, Any]:
        body = {"agentId": agent_id, "platform": "kubernetes"}
        return ask(run, "agents", "POST", "/api/v1/agents/register", body, role=None, X_Agent_Api_Key=key)

    def may_connect(agent_id: str, key: str) -> bool:
        event = {
            "headers": {"X-Agent-Api-Key": key},
            "queryStringParameters": {"agent_id": agent_id},
            "methodArn": "arn",
        }
        effect: str = run("authorize_agent", event)["policyDocument"]["Statement"][0]["Effect"]
        return effect == "Allow"

    elsewhere = register("core-1", token)
    first = register("edge-1", token)
    again = register("edge-1", token)
    second = register("edge-2", token)
    third = register("edge-3", token)
    key = first[1]["apiKey"]
    before = may_connect("edge-1", key)
    ask(run, "agents", "POST", "/api/v1/agents/edge-1/approve")

    assert [answer[0] for answer in (elsewhere, first, again, second, third)] == [401, 202, 401, 202, 401]
    assert (before, may_connect("edge-1", key), may_connect("edge-2", key), may_connect("edge-1", token)) == (
        False,
        True,
        False,
        False,
    )
    assert conn.execute("select labels from agents where agent_id = 'edge-1'").fetchone() == (EU,)


def test_the_audit_log_tells_who_did_what_to_whom_and_from_where_and_keeps_it(run: Run, conn: Connection) -> None:
    """It is only ever added to, and holds no secret."""
    provided = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a1", "platform": "p"})[1]
    command = ask(run, "commands", "POST", "/api/v1/agents/a1/commands", {"action": "noop", "payload": "secret"})[1]
    ask(run, "commands", "POST", f"/api/v1/commands/{command['commandId']}/cancel")
    ask(run, "agents", "DELETE", "/api/v1/agents/a1")

    entries = ask(run, "operators", "GET", "/api/v1/audit?agentId=a1")[1]["entries"]

    assert [(entry["actor"], entry["sourceIp"], entry["action"], entry["commandId"]) for entry in entries] == [
        ("the-admin", "192.0.2.1", "delete agent", None),
        ("the-admin", "192.0.2.1", "cancel command", command["commandId"]),
        ("the-admin", "192.0.2.1", "submit command", command["commandId"]),
        ("the-admin", "192.0.2.1", "provide agent", None),
    ]
    assert provided["apiKey"] not in json.dumps(entries)
    assert "secret" not in json.dumps(entries)
    for statement in ("delete from audit_log", "update audit_log set actor = 'nobody'"):
        with pytest.raises(errors.InsufficientPrivilege):
            conn.execute(statement)
    history = ask(run, "commands", "GET", f"/api/v1/commands/{command['commandId']}/history")[1]["history"]
    assert [entry["toStatus"] for entry in history] == ["pending", "cancelled"]


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, rsa.RSAPrivateKey]]:
    """An OpenID Connect issuer that serves its keys, and its private key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document: Any = {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}
            if self.path.endswith("openid-configuration"):
                document = {"issuer": url, "jwks_uri": f"{url}/keys"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is named there
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OIDC_ISSUER", url)
        monkeypatch.setenv("OIDC_AUDIENCE", "dispatcher")
        yield url, private
        server.shutdown()


def test_tokens_of_an_issuer_are_taken_if_signature_audience_issuer_and_role_are_right(
    run: Run, issuer: tuple[str, rsa.RSAPrivateKey]
) -> None:
    """And the service's own go on working beside them."""
    url, private = issuer
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    good = {"iss": url, "aud": "dispatcher", "sub": "u1", "role": ["sender"], "iat": now, "exp": now + 60}

    def known(claims: dict[str, Any], key: Any = private, algorithm: str = "RS256") -> Any:
        token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k1"})
        return run("authorize_operator", {"headers": {"authorization": f"Bearer {token}"}})["context"].get("username")

    assert known(good) == "oidc:u1"
    assert known({**good, "labels": EU}) == "oidc:u1"
    for bad in ({"aud": "other"}, {"iss": "https://other"}, {"exp": now - 1}, {"role": "owner"}, {"role": None}):
        assert known({**good, **bad}) is None, bad
    assert known(good, stranger) is None
    assert known(good, "7" * 64, "HS256") is None


@pytest.mark.usefixtures("agent")
def test_an_operator_who_submits_too_fast_is_told_so_and_the_others_are_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, conn: Connection
) -> None:
    """Counted over the last minute, each for himself."""
    monkeypatch.setenv("OPERATOR_RATE", "3")
    path = "/api/v1/agents/k8s-dev-1/commands"

    mine = [ask(run, "commands", "POST", path, {"action": "noop"}, role=Role.SENDER)[0] for _ in range(4)]
    other = ask(run, "commands", "POST", path, {"action": "noop"}, role=Role.ADMIN)[0]

    assert (mine, other) == ([202, 202, 202, 429], 202)
    assert conn.execute("select count(*) from agent_commands").fetchone() == (4,)
