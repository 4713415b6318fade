"""The function `commands`: submit, deliver at once, cancel, redrive, and read."""

import json

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform import lambda_api
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import ENVELOPE_BYTES, MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, COMMANDS, LIST, Run, ask, request
from tests.rows import connect, connect_new_agent, create_agent, put, report, report_of, statuses


def test_a_command_for_a_connected_agent_is_sent_at_once(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """After the commit, the function tries to deliver."""
    connect(conn, agent)

    status, body = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": {"n": 2**60}})

    assert status == 202
    assert gateway.command_ids == [body["commandId"]]
    assert gateway.messages[0]["payload"]["payload"] == {"n": 2**60}
    assert ask(run, "commands", "GET", f"/api/v1/commands/{body['commandId']}")[1]["status"] == "sent"


def test_the_sample_command_is_stored_as_it_was_sent(run: Run, agent: str, conn: Connection) -> None:
    """The agent is offline: the command waits, with a NULL error_message."""
    answer = run("commands")

    body = json.loads(answer["body"])
    row = conn.execute("select command_id, agent_id, action, status, error_message from agent_commands").fetchone()
    assert row == (body["commandId"], agent, "stop_session", "pending", None)
    assert answer["headers"]["Location"] == f"/api/v1/commands/{body['commandId']}"


def test_a_payload_keeps_every_digit(run: Run, agent: str, conn: Connection) -> None:
    """R5: payloads of every JSON type, and numbers that do not fit into a double."""
    conn.execute("update agents set platform = 'edge' where agent_id = %s", (agent,))
    for payload in ({"n": 2**60 + 1, "list": [1.5, None]}, [2**63], "text", 2**60 + 1, True):
        _, command = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": payload})
        assert ask(run, "commands", "GET", f"/api/v1/commands/{command['commandId']}")[1]["payload"] == payload


@pytest.mark.usefixtures("agent")
def test_the_ttl_starts_when_the_command_may_be_delivered(run: Run) -> None:
    """Otherwise a command for tomorrow would expire too early."""
    body = {"action": "noop", "notBefore": "2999-01-01T00:00:00Z", "ttlSeconds": 60}

    _, command = ask(run, "commands", "POST", COMMANDS, body)

    assert command["deliverBy"].startswith("2999-01-01T00:01:00")


def test_a_command_for_an_agent_that_was_deleted_is_refused(run: Run, agent: str, conn: Connection) -> None:
    """It would wait for ever."""
    ask(run, "agents", "DELETE", f"/api/v1/agents/{agent}")

    status, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert status == 404
    assert statuses(conn) == {}


@pytest.mark.usefixtures("agent")
def test_a_command_for_a_full_queue_is_refused_and_not_stored(
    run: Run, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R14: the original answered 500 and stored the row."""
    monkeypatch.setenv("QUEUE_LIMIT", "2")

    answers = [ask(run, "commands", "POST", COMMANDS, {"action": "noop"}) for _ in range(3)]

    assert [status for status, _ in answers] == [202, 202, 429]
    assert list(statuses(conn).values()) == ["pending", "pending"]


@pytest.mark.usefixtures("agent")
def test_the_rate_of_one_operator_does_not_limit_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch, conn: Connection
) -> None:
    """The last minute counts, separately for each operator."""
    monkeypatch.setenv("OPERATOR_RATE", "3")
    mine = [ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, role=Role.SENDER)[0] for _ in range(4)]
    other = ask(run, "commands", "POST", COMMANDS, {"action": "noop"}, role=Role.ADMIN)[0]

    assert mine == [202, 202, 202, 429]
    assert other == 202
    assert len(statuses(conn)) == 4


@pytest.mark.usefixtures("agent")
def test_a_command_one_byte_larger_than_a_frame_is_refused_and_one_that_fits_is_accepted(run: Run) -> None:
    """The limit is the size of the whole frame, not of the payload."""
    taken, one = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})
    assert taken == 202
    entry = {
        "commandId": one["commandId"],
        "attempt": one["maxAttempts"],
        "action": "noop",
        "sessionId": None,
        "payload": {"x": ""},
        "executionTimeoutSeconds": one["executionTimeoutSeconds"],
        "traceparent": f"00-{one['correlationId']}-{'0' * 16}-01",
    }
    room = MESSAGE_BYTES - ENVELOPE_BYTES - len(json.dumps(entry))

    fits = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": {"x": "x" * room}})[0]
    too_large = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": {"x": "x" * (room + 1)}})[0]

    assert fits == 202
    assert too_large == 413


@pytest.mark.usefixtures("agent")
def test_a_list_is_accepted_as_a_whole_or_not_at_all(run: Run, conn: Connection) -> None:
    """One entry each, in order."""
    good = [{"agentId": AGENT, "action": f"a{n}"} for n in range(3)]

    refused = ask(run, "commands", "POST", LIST, [*good, {"agentId": "unknown", "action": "noop"}])
    stored = statuses(conn)
    status, body = ask(run, "commands", "POST", LIST, good)

    assert refused[0] == 404
    assert stored == {}
    assert status == 202
    rows = conn.execute("select command_id, action from agent_commands order by seq").fetchall()
    assert [action for _, action in rows] == ["a0", "a1", "a2"]
    assert body == {
        "commands": [{"commandId": each, "agentId": AGENT, "status": "pending"} for each, _ in rows],
    }


@pytest.mark.usefixtures("agent")
def test_every_command_of_a_list_is_delivered_to_its_own_agent(
    run: Run, conn: Connection, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R31: the original inserted them and dispatched none.  The answer waits for no delivery: `flush` does it."""
    connect(conn, AGENT, "c1")
    connect_new_agent(conn, "a2", "c2")
    create_agent(conn, "offline")
    invoked: list[bytes] = []

    def invoke_event(_function: str, event: bytes) -> None:
        invoked.append(event)

    monkeypatch.setattr(lambda_api, "invoke_event", invoke_event)

    ask(run, "commands", "POST", LIST, [{"agentId": each, "action": "noop"} for each in (AGENT, "a2", "offline")])
    posted_before_the_answer = list(gateway.frames)
    events = [json.loads(event) for event in invoked]
    for event in events:
        run("flush", event)

    assert posted_before_the_answer == []
    assert sorted(events[0]["agentIds"]) == sorted([AGENT, "a2"])
    assert len(events) == 1
    assert sorted(gateway.connection_ids) == ["c1", "c2"]
    assert sorted(statuses(conn).values()) == ["pending", "sent", "sent"]


def test_a_commit_that_fails_is_never_answered_with_a_202(run: Run, agent: str, conn: Connection) -> None:
    """I1: the answer comes after the commit."""
    conn.execute(
        """create function refuse() returns trigger language plpgsql as $$ begin
           raise exception 'no' using errcode = '40001'; end $$"""
    )
    conn.execute(
        """create constraint trigger refuse after insert on agent_commands deferrable initially deferred
           for each row execute function refuse()"""
    )

    alone, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})
    listed, _ = ask(run, "commands", "POST", LIST, [{"agentId": agent, "action": "noop"}] * 2)

    assert alone == 503
    assert listed == 503
    assert statuses(conn) == {}


def test_a_database_failure_after_the_commit_does_not_change_the_202(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """R1, R14: the command is accepted; the sweep retries what this delivery could not do."""
    connect(conn, agent)

    def end_every_other_session(_frame: str) -> None:
        conn.execute(
            """select pg_terminate_backend(pid, 1000) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()"""
        )

    gateway.before_post = end_every_other_session

    status, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert status == 202
    assert list(statuses(conn).values()) == ["sent"]


def test_a_release_that_fails_after_the_commit_does_not_change_the_202(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """R14: somebody has locked the agent for longer than a function waits."""
    connect(conn, agent, mode=DeliveryMode.BATCHING, window=9)

    def fail_from_now_on(_frame: str) -> None:
        conn.execute(
            """create function refuse() returns trigger language plpgsql as $$ begin
               raise exception 'locked' using errcode = '55P03'; end $$"""
        )
        conn.execute("create trigger refuse before update on agents for each row execute function refuse()")

    gateway.before_post = fail_from_now_on

    status, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert status == 202
    assert list(statuses(conn).values()) == ["sent"]


def test_a_command_that_is_under_way_is_asked_to_stop_and_one_that_has_ended_is_not(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """I6: an end is final; the agent's report decides how a command under way ends."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=9)
    for status in ("pending", "sent", "acknowledged", "completed"):
        put(conn, f"k-{status}", agent, status=status, attempt=int(status != "pending"), epoch=1)

    answers = {name: ask(run, "commands", "POST", f"/api/v1/commands/{name}/cancel")[0] for name in statuses(conn)}

    assert list(answers.values()) == [202, 202, 202, 409]
    assert list(statuses(conn).values()) == ["cancelled", "sent", "acknowledged", "completed"]
    assert gateway.messages == [
        {"type": "cancel", "commandId": f"k-{each}", "attempt": 1} for each in ("sent", "acknowledged")
    ]


def test_only_a_command_that_ended_without_success_is_redriven_as_a_new_one(
    run: Run, agent: str, conn: Connection
) -> None:
    """The old command does not change."""
    ends = ("dead", "failed", "expired", "cancelled", "timed_out", "completed", "pending")
    for status in ends:
        put(conn, f"k-{status}", agent, status=status)

    answers = [ask(run, "commands", "POST", f"/api/v1/commands/k-{status}/redrive") for status in ends]

    assert [status for status, _ in answers] == [202] * 5 + [409] * 2
    assert [body["redriveOf"] for _, body in answers[:5]] == [f"k-{status}" for status in ends[:5]]
    assert all(statuses(conn)[f"k-{status}"] == status for status in ends)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "filters",
    [
        "",
        f"agentId={AGENT}&",
        "status=pending&",
        "status=sent,pending&",
        "status=dead&status=pending&",
        "sessionId=s1&",
    ],
)
def test_lists_come_in_pages_without_gaps(run: Run, filters: str) -> None:
    """Newest first."""
    body = {"action": "noop", "sessionId": "s1"}
    sent = [ask(run, "commands", "POST", COMMANDS, body)[1]["commandId"] for _ in range(5)]

    seen: list[str] = []
    path = f"/api/v1/commands?{filters}limit=2"
    cursor = ""
    while True:
        _, page = ask(run, "commands", "GET", path + cursor)
        seen += [command["commandId"] for command in page["commands"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"

    assert seen == sent[::-1]


@pytest.mark.usefixtures("agent")
def test_numbers_that_python_cannot_hold_do_not_break_a_list(run: Run, conn: Connection) -> None:
    """I11: inserted with psql, where only PostgreSQL's own limits apply."""
    put(conn, "k1", AGENT, payload='{"n": 1e999}')
    put(conn, "k2", AGENT, payload='{"n": ' + "9" * 5000 + "}")
    put(conn, "k3", AGENT, payload='{"n": ' + "9" * 400 + ".5}")

    answer = run("commands", request("GET", f"{LIST}?include=payload"))

    page = json.loads(answer["body"])
    assert answer["statusCode"] == 200
    assert [each["commandId"] for each in page["commands"]] == ["k3", "k2", "k1"]
    assert page["commands"][0]["payload"] == {"n": "9" * 400 + ".5"}


@pytest.mark.parametrize("depth", [100, 300, 900, 995, 5_000, 16_000])
def test_a_payload_of_any_depth_can_be_read(run: Run, agent: str, conn: Connection, depth: int) -> None:
    """I11: PostgreSQL holds deeper values than Python can decode; such a value is shown as its text."""
    payload = "[" * depth + "]" * depth
    put(conn, "k1", agent)
    put(conn, "deep", agent, payload=payload)

    listed = ask(run, "commands", "GET", f"{LIST}?include=payload,result,progress")
    read = ask(run, "commands", "GET", "/api/v1/commands/deep")
    cancelled = ask(run, "commands", "POST", "/api/v1/commands/deep/cancel")

    assert listed[0] == 200
    assert read[0] == 200
    assert cancelled[0] == 202
    assert [each["commandId"] for each in listed[1]["commands"]] == ["deep", "k1"]
    shown = read[1]["payload"]
    assert (shown if isinstance(shown, str) else json.dumps(shown)) == payload


def test_a_reported_result_of_any_depth_can_be_read(run: Run, agent: str, conn: Connection) -> None:
    """I11: an agent cannot make lists unreadable."""
    put(conn, "k1", agent, status="sent", attempt=1, epoch=0)
    result = "[" * 400 + "]" * 400
    report(conn, report_of("complete", result=json.loads(result)), agent_id=agent)

    listed = ask(run, "commands", "GET", f"{LIST}?include=result")

    assert listed[0] == 200
    assert listed[1]["commands"][0]["result"] == result
