"""What goes out: every answer fits, whatever operators sent and agents reported; lists leave nothing out."""

import json
from typing import Any

import pytest

from dispatcher.api.cursors import PAGE_BYTES
from dispatcher.platform.database import Connection
from dispatcher.protocol.frames import MESSAGE_BYTES
from tests.integration.functions.events import AGENT, COMMANDS, LIST, Run, ask, request
from tests.rows import put

LAMBDA_BYTES = 6 * 1024 * 1024
LARGE = MESSAGE_BYTES - 1024


def pages(run: Run, path: str, plural: str) -> list[list[Any]]:
    """Follow a list to its end; each answer fits."""
    found: list[list[Any]] = []
    cursor = ""
    while True:
        answer = run(path.split("?", maxsplit=1)[0].split("/")[3], request("GET", path + cursor))
        assert answer["statusCode"] == 200
        assert len(json.dumps(answer)) < LAMBDA_BYTES / 2
        page = json.loads(answer["body"])
        found.append(page[plural])
        if page["nextCursor"] is None:
            return found
        assert len(found) < 100
        cursor = f"&cursor={page['nextCursor']}"


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    "include", ["payload", "result", "progress", "payload,result,progress", "progress&include=result"]
)
def test_a_page_ends_by_its_bytes_and_the_next_one_goes_on(run: Run, conn: Connection, include: str) -> None:
    """I1: fifty large commands made the list unreadable for everyone."""
    value = json.dumps('"' * (LARGE // 2))
    for number in range(30):
        put(conn, f"k{number:02}", AGENT, payload=value, result=value, progress=value)

    found = pages(run, f"{LIST}?limit=200&include={include}", "commands")

    asked = {*include.replace("&include=", ",").split(",")}
    assert len(found) > 1
    assert [command["commandId"] for page in found for command in page] == [f"k{number:02}" for number in range(30)][
        ::-1
    ]
    for command in found[0]:
        assert {"payload", "result", "progress"} & command.keys() == asked
        assert all(command[name] == json.loads(value) for name in asked)


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("filters", ["", f"agentId={AGENT}&", "status=dead,pending&"])
def test_a_list_leaves_large_fields_out_and_ends_by_its_errors_too(run: Run, conn: Connection, filters: str) -> None:
    """An error message comes from an agent."""
    for number in range(60):
        put(conn, f"k{number:02}", AGENT, status=("dead", "pending")[number % 2], error_message="\x01" * 50_000)

    found = pages(run, f"{LIST}?{filters}limit=50", "commands")

    assert [command["commandId"] for page in found for command in page] == [f"k{number:02}" for number in range(60)][
        ::-1
    ]
    assert not {"payload", "result", "progress"} & found[0][0].keys()
    assert max(len(json.dumps(page)) for page in found) < 2 * PAGE_BYTES


@pytest.mark.parametrize(
    "value",
    [
        json.dumps('"' * (LARGE // 2)),
        json.dumps("\x01" * (LARGE // 6)),
        json.dumps("é" * (LARGE // 2), ensure_ascii=False),
        json.dumps("😀" * (LARGE // 4), ensure_ascii=False),
        "[" + ",".join(["1e308"] * (LARGE // 6)) + "]",
        json.dumps({f'"{number}': "\\" for number in range(10_000)}),
    ],
    ids=["quotes", "control characters", "two bytes", "four bytes", "numbers", "members"],
)
def test_the_largest_command_can_be_read(run: Run, agent: str, conn: Connection, value: str) -> None:
    """What fits into a message is shown whole; of what PostgreSQL makes larger, the beginning is shown."""
    put(conn, "k1", agent, payload=value, result=value, progress=value, status="failed", error_message=value)

    answer = run("commands", request("GET", "/api/v1/commands/k1"))
    listed = run("commands", request("GET", f"{LIST}?include=payload,result,progress"))

    for each in (answer, listed):
        assert each["statusCode"] == 200
        assert len(json.dumps(each)) < LAMBDA_BYTES
    shown = json.loads(answer["body"])["payload"]
    assert shown == json.loads(value) or "(shortened," in shown


@pytest.mark.usefixtures("agent")
def test_a_thousand_commands_are_answered_with_ids_and_statuses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """I2: 5.8 MB were committed and answered with a 500."""
    monkeypatch.setenv("QUEUE_LIMIT", "2000")
    commands = [{"agentId": AGENT, "action": "noop", "payload": {"text": "x" * 5_800}} for _ in range(1000)]

    answer = run("commands", request("POST", LIST, commands))

    entries = json.loads(answer["body"])["commands"]
    assert answer["statusCode"] == 202
    assert len(answer["body"]) < 200_000
    assert len({entry["commandId"] for entry in entries}) == 1000
    assert {tuple(entry) for entry in entries} == {("commandId", "agentId", "status")}


def test_agents_that_say_much_of_themselves_do_not_break_their_list(run: Run, conn: Connection) -> None:
    """I3: one answer held everything."""
    for number in range(40):
        conn.execute(
            "insert into agents (agent_id, platform, metadata, capacity) values (%s, 'x', %s, %s)",
            (f"a{number:02}", json.dumps('"' * 60_000), json.dumps("x" * 3_000_000)),
        )

    found = pages(run, "/api/v1/agents?limit=200", "agents")
    read = run("agents", request("GET", "/api/v1/agents/a00"))

    assert [agent["agentId"] for page in found for agent in page] == [f"a{number:02}" for number in range(40)]
    assert len(found) > 1
    assert "(shortened," in json.loads(read["body"])["capacity"]


def test_a_history_comes_in_pages(run: Run, agent: str, conn: Connection) -> None:
    """A command may have thousands of transitions."""
    put(conn, "k1", agent)
    conn.execute(
        """insert into command_history (command_id, from_status, to_status, attempt, cause)
           select 'k1', 'sent', 'pending', n, 'by hand' from generate_series(1, 120) n"""
    )

    found = pages(run, "/api/v1/commands/k1/history?limit=50", "history")

    assert [len(page) for page in found] == [50, 50, 21]
    assert [entry["attempt"] for page in found for entry in page] == list(range(121))
    assert found[0][0].keys() == {"fromStatus", "toStatus", "attempt", "cause", "at", "correlationId"}


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("function", "method", "path", "body"),
    [
        ("agents", "POST", "/api/v1/agents", {"agentId": "a9", "platform": "x"}),
        ("agents", "POST", f"/api/v1/agents/{AGENT}/keys", None),
        ("agents", "POST", "/api/v1/enrolment-tokens", {"agentId": "a8"}),
        ("agents", "GET", "/api/v1/agents/none", None),
        ("operators", "POST", "/api/v1/auth/login", {"username": "admin", "password": "x"}),
        ("operators", "GET", "/api/v1/tokens", None),
        ("commands", "POST", COMMANDS, {"action": "noop"}),
        ("pages", "GET", "/openapi.json", None),
        ("pages", "GET", "/none", None),
    ],
)
def test_a_browser_keeps_runs_and_frames_no_answer(run: Run, function: str, method: str, path: str, body: Any) -> None:
    """Some of them hold a key or a token."""
    headers = run(function, request(method, path, body))["headers"]

    assert (
        headers.items()
        >= {
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }.items()
    )


def test_no_answer_quotes_a_refused_filter_at_length(run: Run) -> None:
    """The answer to a request that is refused is small."""
    path = f"{LIST}?status={'x' * 8000}&{'y' * 8000}=1"

    assert ask(run, "commands", "GET", path)[0] == 422
    assert len(run("commands", request("GET", path))["body"]) < 2000
