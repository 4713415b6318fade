"""What comes in: media types, encodings, methods, paths and sizes, as the standards have them."""

import base64
import json
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, COMMANDS, KEY, KEY_ID, LIST, LOGIN, REGISTER, Run, ask, request
from tests.rows import connect, put, statuses


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("Application/JSON", 202),
        ("APPLICATION/JSON; Charset=UTF-8", 202),
        ('application/json;charset="utf-8"; profile=x', 202),
        ("application/json5", 415),
        ("application/jsonp", 415),
        ("application/json; charset=latin-1", 415),
        ("text/json", 415),
    ],
)
def test_a_media_type_is_compared_as_a_whole_and_in_any_case(run: Run, content_type: str, status: int) -> None:
    """Its parameters are no part of it."""
    assert ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, content_type=content_type)[0] == status


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("encoded", [False, True])
def test_a_byte_order_mark_is_ignored(run: Run, encoded: bool) -> None:  # noqa: FBT001 - pytest passes parameters by name
    """Some programs write one in front of UTF-8."""
    raw = '\ufeff{"action":"é"}'
    event = request("POST", COMMANDS, raw=base64.b64encode(raw.encode()).decode() if encoded else raw)

    answer = run("commands", event | {"isBase64Encoded": encoded})

    assert answer["statusCode"] == 202
    assert json.loads(answer["body"])["action"] == "é"


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("body", [base64.b64encode(b'{"action":"\xff"}').decode(), "%%%"])
def test_a_body_that_is_no_utf_8_is_refused(run: Run, body: str) -> None:
    """It is the caller's error."""
    answer = run("commands", request("POST", COMMANDS, raw=body) | {"isBase64Encoded": True})

    assert answer["statusCode"] == 400


@pytest.mark.usefixtures("agent")
def test_a_payload_reaches_the_agent_digit_by_digit(run: Run, conn: Connection, gateway: FakeGateway) -> None:
    """A float would round it."""
    connect(conn, AGENT)
    payload = '{"a": 0.12345678901234567890123, "b": 1.50, "c": [12345678901234567890.10]}'

    answer = run("commands", request("POST", COMMANDS, raw='{"action":"noop","payload":' + payload + "}"))

    assert answer["statusCode"] == 202
    assert payload in gateway.frames[0][1]
    assert payload.replace(" ", "") in answer["body"]


@pytest.mark.usefixtures("agent")
def test_an_integer_may_be_written_with_a_point(run: Run) -> None:
    """JSON has one kind of number."""
    status, command = ask(
        run, "commands", "POST", COMMANDS, raw='{"action":"noop","priority":1.0,"ttlSeconds":6e1,"maxAttempts":2.00}'
    )

    assert (status, command["priority"], command["maxAttempts"]) == (202, 1, 2)


@pytest.mark.parametrize(
    ("function", "path"),
    [
        ("pages", "/healthz"),
        ("pages", "/docs"),
        ("commands", LIST),
        ("agents", "/api/v1/agents"),
        ("agents", f"/api/v1/agents/{AGENT}"),
    ],
)
@pytest.mark.usefixtures("agent")
def test_head_has_the_headers_of_get_and_no_body(run: Run, function: str, path: str) -> None:
    """So that monitors need not read the body."""
    read, head = (run(function, request(method, path)) for method in ("GET", "HEAD"))

    assert (head["statusCode"], head["body"]) == (200, "")
    assert head["headers"] == read["headers"]


@pytest.mark.parametrize(
    ("function", "method", "path", "allow"),
    [
        ("commands", "PATCH", LIST, "GET, HEAD, POST"),
        ("commands", "DELETE", "/api/v1/commands/k1", "GET, HEAD"),
        ("agents", "GET", REGISTER, "POST"),
        ("agents", "GET", COMMANDS, "POST"),
        ("agents", "HEAD", COMMANDS, "POST"),
        ("pages", "GET", LOGIN, "POST"),
        ("pages", "PUT", REGISTER, "POST"),
        ("pages", "POST", "/healthz", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    run: Run, function: str, method: str, path: str, allow: str
) -> None:
    """Wherever the gateway routes it."""
    answer = run(function, request(method, path, role=None))

    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, allow)


@pytest.mark.parametrize("path", ["/api/v1/commands/", f"/api/v1/agents/{AGENT}/"])
def test_a_slash_at_the_end_gets_a_hint(run: Run, path: str) -> None:
    """The path without it is named."""
    status, problem = ask(run, path.split("/")[3], "GET", path)

    assert status == 404
    assert path.rstrip("/") + " " in problem["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_path_of_the_websocket_asks_for_an_upgrade(run: Run, method: str) -> None:
    """An agent with http in the place of ws learns what to do."""
    answer = run("agents", request(method, "/api/v1/agents/connect?agent_id=a1", role=None))

    assert (answer["statusCode"], answer["headers"]["Upgrade"]) == (426, "websocket")
    assert "X-Agent-Api-Key" in answer["body"] or method == "HEAD"


def test_an_id_is_read_from_the_path_as_it_was_written(run: Run, conn: Connection) -> None:
    """With the characters that an id may have, percent-encoded or not."""
    agent_id = "a:b@c._d-"
    created, _ = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": agent_id, "platform": "linux"})
    put(conn, "k?#/ é%", agent_id)

    answers = [
        ask(run, "agents", "GET", f"/api/v1/agents/{written}")[0]
        for written in (agent_id, "a%3Ab%40c._d-", "a%3ab@c._d%2D")
    ]
    read = ask(run, "commands", "GET", "/api/v1/commands/k%3F%23%2F%20%C3%A9%25")

    assert created == 201
    assert answers == [200, 200, 200]
    assert read[0] == 404  # a slash is never part of an id in a path


def test_a_keys_id_may_be_written_in_upper_case(run: Run, agent: str) -> None:
    """A UUID has no case."""
    assert ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}/keys/{KEY_ID.upper()}")[0] == 204


@pytest.mark.parametrize("path", ["/api/v1/commands/a%00", f"{LIST}?agentId=%00", f"{LIST}?cursor=AA"])
def test_u0000_outside_the_body_is_the_callers_error(run: Run, path: str) -> None:
    """PostgreSQL stores none."""
    assert ask(run, "commands", "GET", path)[0] in {400, 422}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("function", "path", "limit"),
    [
        ("operators", LOGIN, 4 * 1024),
        ("agents", "/api/v1/agents", 64 * 1024),
        ("agents", REGISTER, 64 * 1024),
        ("commands", COMMANDS, 256 * 1024),
    ],
)
def test_a_body_is_measured_before_it_is_decoded(run: Run, function: str, path: str, limit: int) -> None:
    """One that is too large is not looked at, in whichever form it comes."""
    for raw, encoded in (("[" * (limit + 1), False), (base64.b64encode(b"[" * (limit + 1)).decode(), True)):
        answer = run(function, request("POST", path, raw=raw) | {"isBase64Encoded": encoded})
        assert answer["statusCode"] == 413
        assert json.loads(answer["body"])["limit"] == limit
    assert run(function, request("POST", path, raw="[" * limit))["statusCode"] == 400


def test_twenty_errors_are_named_and_little_is_quoted(run: Run) -> None:
    """The answer is not larger than the request."""
    body = {f"{'k' * 500}{n}": n for n in range(90)}

    answer = run("agents", request("POST", "/api/v1/agents", body))

    problem = json.loads(answer["body"])
    assert answer["statusCode"] == 422
    assert len(problem["errors"]) == 20
    assert "91 more" in problem["detail"]
    assert len(answer["body"]) < 4000


@pytest.mark.parametrize("items", [1, 1000, 100_000])
def test_a_list_of_wrong_commands_is_refused_at_its_first_one(run: Run, items: int) -> None:
    """Naming all that is wrong with 6 MB would take a gigabyte."""
    members = {f"k{n}": 0 for n in range(400_000 // items)}

    status, problem = ask(run, "commands", "POST", LIST, [members] * items)

    assert status == 422
    assert {error["at"].split("/")[1] for error in problem["errors"]} == {"0"}


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "in the header `X-Agent-Api-Key`."), ("abc", "has another form"), ("x" * 64, "has another form")],
)
@pytest.mark.usefixtures("agent")
def test_an_agent_learns_what_is_wrong_with_its_key(run: Run, key: str | None, said: str) -> None:
    """Without learning who exists: these answers look at nothing but the header."""
    options: dict[str, Any] = {"X_Agent_Api_Key": key} if key else {}
    known, unknown = (
        ask(run, "agents", "POST", REGISTER, {"agentId": each, "platform": "x"}, role=None, **options)
        for each in (AGENT, "a9")
    )

    assert known[0] == 401
    assert said in known[1]["detail"]
    assert known == unknown


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("field", ["metadata", "capacity"])
def test_what_an_agent_says_of_itself_has_a_limit(run: Run, field: str) -> None:
    """The refusal names the field, the size and the limit."""
    body = {"agentId": AGENT, "platform": "x"}

    fits = ask(run, "agents", "POST", REGISTER, body | {field: "x" * 16_382}, role=None, X_Agent_Api_Key=KEY)
    status, problem = ask(
        run, "agents", "POST", REGISTER, body | {field: ["é" * 8_192]}, role=None, X_Agent_Api_Key=KEY
    )

    assert fits[0] == 200
    assert status == 422
    assert problem["errors"] == [
        {"at": f"body/{field}", "is": "it takes 16,388 bytes as JSON; at most 16,384 are kept"}
    ]


@pytest.mark.usefixtures("agent")
def test_a_redrive_is_one_command_under_one_idempotency_key(run: Run, conn: Connection) -> None:
    """Its time limit is the old one's span, or the one that is given."""
    put(conn, "old", AGENT, status="dead", created_at="2026-01-01T00:00:00Z", deliver_by="2026-01-01T00:02:00Z")

    first, again, other = (
        ask(run, "commands", "POST", "/api/v1/commands/old/redrive", body, idempotency_key=key)
        for body, key in ((None, "k"), (None, "k"), ({"ttlSeconds": 3600}, "other"))
    )

    assert [first[0], again[0], other[0]] == [202, 202, 202]
    assert first[1]["commandId"] == again[1]["commandId"] != other[1]["commandId"]
    assert len(statuses(conn)) == 3
    spans = conn.execute(
        "select extract(epoch from deliver_by - created_at)::int from agent_commands where redrive_of = 'old' order by seq"
    ).fetchall()
    assert spans == [(120,), (3600,)]
