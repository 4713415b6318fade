"""What the functions promise beyond the layer: nothing is accepted in vain, and nothing that was said is lost."""

import json
from typing import Any

import pytest

from dispatcher.commands import flush
from dispatcher.commands.flush import FlushRequest
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway
from tests.functions.conftest import AGENT, Run, sample
from tests.functions.test_intake import COMMANDS, ask
from tests.rows import connect, put, statuses


def said(root: Any, connection_id: str, frame: dict[str, Any]) -> dict[str, Any]:
    """Build the event of an agent's message."""
    event: dict[str, Any] = sample(root, "message")
    event["requestContext"]["connectionId"] = connection_id
    return {**event, "body": json.dumps(frame)}


def interrupt_once(conn: Connection, table: str, code: str) -> None:
    """Let the database end the next statement that updates a table, as a deadlock or a failover does."""
    conn.execute("create sequence tries")
    conn.execute(
        f"""create function interrupt() returns trigger language plpgsql as $$ begin
            if nextval('tries') = 1 then raise exception 'interrupted' using errcode = '{code}'; end if;
            return new; end $$""".encode()
    )
    conn.execute(
        f"create trigger interrupt before update on {table} for each row execute function interrupt()".encode()
    )


def test_a_database_that_goes_away_after_the_commit_changes_nothing_about_the_202(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """R1, R14: it is accepted; what the delivery could not settle is settled by the clocks."""
    connect(conn, agent)

    def end_every_other_session(_frame: str) -> None:
        conn.execute(
            """select pg_terminate_backend(pid, 1000) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()"""
        )

    gateway.before_post = end_every_other_session

    status, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    assert (status, list(statuses(conn).values())) == (202, ["sent"])


@pytest.mark.usefixtures("agent")
def test_a_full_queue_is_said_before_and_nothing_is_kept_of_the_command(
    run: Run, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R14: the original answered 500 and kept the row."""
    monkeypatch.setenv("QUEUE_LIMIT", "2")

    answers = [ask(run, "commands", "POST", COMMANDS, {"action": "noop"}) for _ in range(3)]

    assert [status for status, _ in answers] == [202, 202, 429]
    assert list(statuses(conn).values()) == ["pending", "pending"]


@pytest.mark.usefixtures("agent")
def test_a_payload_comes_back_with_every_digit_that_it_was_sent_with(run: Run) -> None:
    """R5: of whatever JSON type, and larger than a double holds."""
    for payload in ({"n": 2**60 + 1, "list": [1.5, None]}, [2**63], "text", 2**60 + 1, True):
        _, command = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": payload})
        assert ask(run, "commands", "GET", f"/api/v1/commands/{command['commandId']}")[1]["payload"] == payload


@pytest.mark.usefixtures("agent")
def test_every_command_of_a_list_is_delivered_to_its_own_agent(
    run: Run, conn: Connection, gateway: FakeGateway
) -> None:
    """R31: the original inserted them and dispatched none."""
    conn.execute("insert into agents (agent_id, platform) values ('a2', 'kubernetes')")
    connect(conn, AGENT, "c1")
    connect(conn, "a2", "c2")

    ask(run, "commands", "POST", "/api/v1/commands", [{"agentId": each, "action": "noop"} for each in (AGENT, "a2")])

    assert ([connection for connection, _ in gateway.frames], set(statuses(conn).values())) == (["c1", "c2"], {"sent"})


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("method", "path", "action"),
    [("DELETE", "", "stop_session"), ("POST", "/hibernate", "hibernate_session"), ("POST", "/wake", "wake_session")],
)
def test_what_is_done_to_a_session_is_sent_to_its_agent(
    run: Run, conn: Connection, gateway: FakeGateway, *, method: str, path: str, action: str
) -> None:
    """R30: the original answered success and sent nothing."""
    _, session = ask(run, "sessions", "POST", "/api/v1/sessions", {"user": "u", "template": "t", "agentId": AGENT})
    conn.execute("update agent_commands set status = 'completed', cause = 'done'")
    connect(conn, AGENT, "c1")

    status, command = ask(run, "sessions", method, f"/api/v1/sessions/{session['name']}{path}")

    (frame,) = [json.loads(text)["payload"] for _, text in gateway.frames]
    assert (status, frame["action"], frame["commandId"]) == (202, action, command["commandId"])
    assert frame["payload"]["sessionId"] == session["name"]


@pytest.mark.usefixtures("agent")
def test_a_connection_is_handed_over_to_flush_with_its_epoch(
    run: Run, root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R11, R12: nothing waits for a restart, and nothing is sent before the handshake is over."""
    handed: list[FlushRequest] = []
    monkeypatch.setattr(flush, "invoke_flush", handed.append)

    run("connect")

    connection_id = sample(root, "connect")["requestContext"]["connectionId"]
    assert handed == [FlushRequest(agent_id=AGENT, connection_id=connection_id, epoch=1)]


@pytest.mark.usefixtures("agent")
def test_a_flush_that_cannot_be_invoked_is_no_reason_to_refuse_an_agent(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep delivers what flush did not."""
    flush._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")

    answer = run("connect")

    flush._lambda_client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    assert answer == {"statusCode": 200}


def test_an_ack_opens_the_window_for_the_next_command(
    run: Run, root: Any, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """In the same invocation: the next one waits for no sweep."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent)
    put(conn, "k2", agent)
    run("message", said(root, "c1", {"type": "heartbeat"}))

    run("message", said(root, "c1", {"type": "ack", "payload": {"commandId": "k1"}}))

    assert (gateway.command_ids, statuses(conn)) == (["k1", "k2"], {"k1": "acknowledged", "k2": "sent"})


@pytest.mark.parametrize("code", ["40P01", "40001", "57P01"])
def test_a_report_that_the_database_interrupts_is_settled_all_the_same(
    run: Run, root: Any, agent: str, conn: Connection, code: str
) -> None:
    """R25: agents of the first protocol say everything once."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="acknowledged", attempt=1, epoch=1)
    interrupt_once(conn, "agent_commands", code)

    run("message", said(root, "c1", {"type": "complete", "payload": {"commandId": "k1"}}))

    assert statuses(conn) == {"k1": "completed"}


@pytest.mark.parametrize(("function", "offline"), [("connect", False), ("disconnect", True)])
def test_an_agent_that_comes_or_goes_while_the_database_is_interrupted_is_noted(
    run: Run, root: Any, agent: str, conn: Connection, function: str, *, offline: bool
) -> None:
    """The gateway says it once."""
    connect(conn, agent, sample(root, "disconnect")["requestContext"]["connectionId"])
    interrupt_once(conn, "agents", "40P01")

    run(function)

    assert conn.execute("select connection_id is null from agents").fetchone() == (offline,)


def test_a_bad_frame_is_no_error_and_changes_nothing(run: Run, root: Any, agent: str, conn: Connection) -> None:
    """Its socket stays open."""
    connect(conn, agent, "c1")
    put(conn, "k1", agent, status="sent", attempt=1, epoch=1)
    event = said(root, "c1", {})

    for body in ("", "{", "[]", '{"type": 1}', '{"type": "ack", "payload": {"commandId": 1}}', "\0", "[" * 9999):
        assert run("message", {**event, "body": body}) == {"statusCode": 200}
    assert run("message", {**event, "body": "//4=", "isBase64Encoded": True}) == {"statusCode": 200}

    assert statuses(conn) == {"k1": "sent"}


def test_a_command_that_is_under_way_is_asked_to_stop_and_one_that_has_ended_is_not(
    run: Run, agent: str, conn: Connection, gateway: FakeGateway
) -> None:
    """I6: an end is final; what becomes of the other is what its agent says."""
    connect(conn, agent, "c1", mode=DeliveryMode.BATCHING, window=9)
    for status in ("pending", "sent", "acknowledged", "completed"):
        put(conn, f"k-{status}", agent, status=status, attempt=1, epoch=1)

    answers = {name: ask(run, "commands", "POST", f"/api/v1/commands/{name}/cancel")[0] for name in statuses(conn)}

    assert list(answers.values()) == [202, 202, 202, 409]
    assert list(statuses(conn).values()) == ["cancelled", "sent", "acknowledged", "completed"]
    asked = [json.loads(frame) for _, frame in gateway.frames]
    assert asked == [{"type": "cancel", "commandId": f"k-{each}", "attempt": 1} for each in ("sent", "acknowledged")]


def test_only_what_ended_without_success_is_redriven_as_a_new_command(run: Run, agent: str, conn: Connection) -> None:
    """The old one stays as it ended."""
    ends = ("dead", "failed", "expired", "cancelled", "timed_out", "completed", "pending")
    for status in ends:
        put(conn, f"k-{status}", agent, status=status)

    answers = [ask(run, "commands", "POST", f"/api/v1/commands/k-{status}/redrive") for status in ends]

    assert [status for status, _ in answers] == [202] * 5 + [409] * 2
    assert [body["redriveOf"] for _, body in answers[:5]] == [f"k-{status}" for status in ends[:5]]
    assert all(statuses(conn)[f"k-{status}"] == status for status in ends)


def test_a_commit_that_fails_is_never_answered_with_a_202(run: Run, agent: str, conn: Connection) -> None:
    """I1: the answer comes after the commit, and says so."""
    conn.execute(
        """create function refuse() returns trigger language plpgsql as $$ begin
           raise exception 'no' using errcode = '40001'; end $$"""
    )
    conn.execute(
        """create constraint trigger refuse after insert on agent_commands deferrable initially deferred
           for each row execute function refuse()"""
    )

    alone, _ = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})
    listed, _ = ask(run, "commands", "POST", "/api/v1/commands", [{"agentId": agent, "action": "noop"}] * 2)

    assert (alone, listed, statuses(conn)) == (503, 503, {})
