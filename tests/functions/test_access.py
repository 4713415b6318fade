"""What is out of reach: other people's registry, keys and tokens; what is over; what would make two of one."""

import base64
import json
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.sessions import session_records
from tests.functions.conftest import AGENT, KEY_ID, Run, request, sample
from tests.functions.test_intake import COMMANDS, ask
from tests.rows import connect, provide, put, statuses

EU = {"region": "eu"}


def test_a_command_for_an_agent_that_was_deleted_is_refused(run: Run, agent: str, conn: Connection) -> None:
    """It would wait for ever."""
    ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}")

    status, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert (status, statuses(conn)) == (404, {})


@pytest.mark.usefixtures("agent")
def test_the_time_to_wait_begins_when_the_command_may_be_delivered(run: Run) -> None:
    """Or a command for tomorrow would have expired before it."""
    body = {"action": "noop", "notBefore": "2999-01-01T00:00:00Z", "ttlSeconds": 60}

    _, command = ask(run, "commands", "POST", COMMANDS, body)

    assert command["deliverBy"].startswith("2999-01-01T00:01:00")


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "other",
    [
        {"payload": {"n": 2}},
        {"sessionId": "s2"},
        {"priority": 2},
        {"ttlSeconds": 2},
        {"executionTimeoutSeconds": 2},
        {"maxAttempts": 2},
        {"notBefore": "2999-01-01T00:00:00Z"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_under_the_same_key_is_refused_whatever_it_is_that_differs(run: Run, other: Any) -> None:
    """I10: or its sender would believe that it is under way."""
    body = {"action": "noop", "payload": {"n": 1}, "sessionId": "s1", "priority": 1, "ttlSeconds": 1}

    answers = [
        ask(run, "commands", "POST", COMMANDS, each, idempotency_key="k")[0] for each in (body, body, {**body, **other})
    ]

    assert answers == [202, 202, 409]


@pytest.mark.usefixtures("agent")
def test_two_operators_with_the_same_key_have_two_commands(run: Run, conn: Connection) -> None:
    """I10: a key is its operator's own."""
    one, other = (
        ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, idempotency_key="k", role=role)
        for role in (Role.SENDER, Role.ADMIN)
    )

    assert one[1]["commandId"] != other[1]["commandId"]
    assert len(statuses(conn)) == 2


@pytest.mark.usefixtures("agent")
def test_numbers_that_python_cannot_hold_stop_no_list(run: Run, conn: Connection) -> None:
    """I11: put in with psql, where PostgreSQL's own numbers are the limit."""
    put(conn, "k1", AGENT, payload='{"n": 1e999}')
    put(conn, "k2", AGENT, payload='{"n": ' + "9" * 5000 + "}")
    put(conn, "k3", AGENT, payload='{"n": ' + "9" * 400 + ".5}")

    answer = run("commands", request("GET", "/api/v1/commands"))

    page = json.loads(answer["body"])
    assert (answer["statusCode"], [each["commandId"] for each in page["commands"]]) == (200, ["k3", "k2", "k1"])
    assert page["commands"][0]["payload"] == {"n": "9" * 400 + ".5"}


def test_a_message_of_bytes_says_the_same_as_one_of_text(run: Run, root: Any, agent: str, conn: Connection) -> None:
    """API Gateway encodes it to base64."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)
    event = sample(root, "message")
    event["requestContext"]["connectionId"] = "c1"
    body = json.dumps({"type": "ack", "payload": {"commandId": "k1"}})

    run("message", {**event, "body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True})

    assert statuses(conn) == {"k1": "acknowledged"}


def test_an_admin_of_one_region_revokes_no_key_of_another(run: Run, root: Any, conn: Connection) -> None:
    """Neither directly nor by naming an agent of his own."""
    del root
    for name, region in (("eu-1", "eu"), ("us-1", "us")):
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": name, "platform": "p", "labels": {"region": region}})
    row = conn.execute("select key_id::text from agent_keys where agent_id = 'us-1'").fetchone()
    assert row is not None

    answers = [
        ask(run, "agents", "DELETE", f"/api/v1/agents/{name}/keys/{row[0]}", labels=EU)[0] for name in ("us-1", "eu-1")
    ]

    assert answers == [404, 404]
    assert conn.execute("select count(*) from agent_keys where revoked_at is not null").fetchone() == (0,)


def test_a_session_is_started_only_at_an_agent_that_its_operator_may_see(conn: Connection) -> None:
    """Where none is named, one is chosen: by the same labels, and among the approved."""
    provide(conn, "us-1")
    connect(conn, "us-1", "c1")
    conn.execute('update agents set labels = \'{"region": "us"}\'')
    none = session_records.choose_agent(conn, EU)
    provide(conn, "eu-0")
    provide(conn, "eu-1")
    conn.execute("update agents set labels = '{\"region\": \"eu\"}' where agent_id like 'eu%'")
    conn.execute("update agents set approval = 'pending' where agent_id = 'eu-0'")

    assert (none, session_records.choose_agent(conn, EU)) == (None, "eu-1")


@pytest.mark.usefixtures("operators")
def test_a_token_for_scripts_that_is_over_is_nobodys(run: Run, conn: Connection) -> None:
    """It is not listed either."""
    body = {"name": "ci", "role": "reader"}
    made = ask(run, "operators", "POST", "/api/v1/tokens", body, role=Role.SENDER)[1]
    conn.execute("update api_tokens set expires_at = now()")

    known = run("authorize_operator", {"headers": {"authorization": f"Bearer {made['token']}"}})["context"]
    listed = ask(run, "operators", "GET", "/api/v1/tokens", role=Role.SENDER)[1]["tokens"]

    assert ("username" in known, listed) == (False, [])


def test_an_enrolment_token_that_is_over_makes_no_agent(run: Run, conn: Connection) -> None:
    """Short-lived, as it was said to be."""
    token = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", {"prefix": "edge-"})[1]["token"]
    conn.execute("update enrolment_tokens set expires_at = now()")
    body = {"agentId": "edge-1", "platform": "p"}

    status, _ = ask(run, "agents", "POST", "/api/v1/agents/register", body, role=None, X_Agent_Api_Key=token)

    assert (status, conn.execute("select count(*) from agents").fetchone()) == (401, (0,))


@pytest.mark.usefixtures("agent")
def test_a_server_that_only_reads_is_a_503_and_the_next_request_finds_the_other(run: Run, conn: Connection) -> None:
    """After a failover: nothing is accepted, and the caller may try again."""
    ask(run, "commands", "GET", "/api/v1/commands")
    with database.connect() as kept:
        kept.execute("set default_transaction_read_only = on")

    answers = [ask(run, "commands", "POST", COMMANDS, {"action": "noop"})[0] for _ in range(2)]

    assert (answers, list(statuses(conn).values())) == ([503, 202], ["pending"])


def test_an_agent_whose_key_is_revoked_is_away_at_once(run: Run, agent: str, conn: Connection) -> None:
    """Whether or not its socket can be closed: nothing is posted there any more."""
    run("connect")

    status, _ = ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}/keys/{KEY_ID}")

    assert (status, conn.execute("select connection_id from agents").fetchone()) == (204, (None,))
