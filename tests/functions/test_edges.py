"""Requests and reports at the edge of what can be kept: a clear answer, and no command that is stuck."""

import json
from typing import Any

import pytest

from dispatcher.platform.database import Connection
from tests.functions.conftest import AGENT, Run, request
from tests.functions.test_intake import COMMANDS, ask
from tests.rows import connect, put, receive, statuses

LIST = "/api/v1/commands"


@pytest.mark.usefixtures("agent")
def test_an_idempotency_key_of_a_list_covers_no_other_list(run: Run, conn: Connection) -> None:
    """I10: not a shorter one, not a longer one, not one in another order, and no single command."""

    def submit(*actions: str) -> int:
        body = [{"agentId": AGENT, "action": action} for action in actions]
        return ask(run, "commands", "POST", LIST, body, idempotency_key="k")[0]

    answers = [submit("n1", "n2"), submit("n1", "n2"), submit("n1"), submit("n1", "n2", "n3"), submit("n2", "n1")]
    single = ask(run, "commands", "POST", COMMANDS, {"action": "n3"}, idempotency_key="k")[0]

    assert (answers, single) == ([202, 202, 409, 409, 409], 409)
    assert len(statuses(conn)) == 2


@pytest.mark.usefixtures("agent")
def test_an_idempotency_key_knows_a_moment_in_another_zone(run: Run) -> None:
    """It is the same request."""
    bodies = [{"action": "n", "notBefore": moment} for moment in ("2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00")]

    answers = [ask(run, "commands", "POST", COMMANDS, body, idempotency_key="k") for body in bodies]

    assert [status for status, _ in answers] == [202, 202]
    assert answers[0][1]["commandId"] == answers[1][1]["commandId"]


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59Z", "9000-01-01T00:00:00Z", 5, 1.5, True, "2030-01-01"])
def test_a_moment_that_cannot_be_kept_is_the_callers_error(run: Run, conn: Connection, moment: Any) -> None:
    """And not ours, nor taken for another one."""
    status, problem = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "notBefore": moment})

    assert (status, statuses(conn)) == (422, {})
    assert problem["errors"][0]["at"].endswith("notBefore")


@pytest.mark.parametrize(
    "path", [LIST, "/api/v1/commands/any/why", COMMANDS, "/api/v1/sessions", "/api/v1/agents", "/api/v1/audit"]
)
def test_a_misspelt_filter_is_refused_and_not_answered_with_everything(run: Run, path: str) -> None:
    """What a script does to all that are listed would be done to all there are."""
    name, method = path.split("/")[3], "POST" if path == COMMANDS else "GET"
    function = {"audit": "operators"}.get(name, "commands" if path == COMMANDS else name)

    status, problem = ask(
        run, function, method, f"{path}?agent_id=a&statuss=dead", {"action": "noop"} if method == "POST" else None
    )

    assert (status, problem["detail"]) == (422, "query/agent_id: Not a parameter of this path (1 more in `errors`).")
    assert [each["at"] for each in problem["errors"]] == ["query/agent_id", "query/statuss"]


def test_an_agents_id_is_a_segment_of_a_path(run: Run) -> None:
    """Or nobody could manage it."""
    assert ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a/b", "platform": "kubernetes"})[0] == 422


def test_the_root_leads_to_the_documentation(run: Run) -> None:
    """It is what a newcomer opens first."""
    answer = run("pages", request("GET", "/", role=None))

    assert (answer["statusCode"], answer["headers"]["Location"]) == (302, "/docs")


@pytest.mark.parametrize(
    "result",
    ["[" * 300 + "]" * 300, "[" * 600 + "]" * 600, "7" * 6000, "1e999", '{"a": ' * 250 + "1" + "}" * 250],
    ids=["300 levels", "600 levels", "6000 digits", "beyond a double", "250 objects"],
)
def test_a_result_that_nobody_can_read_is_a_result_all_the_same(conn: Connection, result: str) -> None:
    """The command has ended, and its result is there as a text."""
    conn.execute("insert into agents (agent_id, platform) values ('a1', 'kubernetes')")
    connect(conn)
    put(conn, "k1", status="acknowledged", attempt=1, epoch=1)
    put(conn, "k2", status="acknowledged", attempt=1, epoch=1)

    receive(conn, "a1", "c1", f'{{"type": "complete", "payload": {{"commandId": "k1", "result": {result}}}}}')

    assert statuses(conn)["k1"] == "completed"
    row = conn.execute("select result from agent_commands where command_id = 'k1'").fetchone()
    assert row is not None
    assert isinstance(row[0], str)
    assert len(row[0]) > 4


@pytest.mark.parametrize("command_id", ["a\nb", "a\tb", "a\u202eb", "x" * 300, "\N{HIGH VOLTAGE SIGN}"])
def test_a_row_with_an_odd_id_can_be_reported(conn: Connection, command_id: str) -> None:
    """Whoever inserts with psql may choose it."""
    conn.execute("insert into agents (agent_id, platform) values ('a1', 'kubernetes')")
    connect(conn)
    put(conn, command_id, status="sent", attempt=1, epoch=1)

    receive(conn, "a1", "c1", json.dumps({"type": "complete", "payload": {"commandId": command_id}}))

    assert statuses(conn) == {command_id: "completed"}
