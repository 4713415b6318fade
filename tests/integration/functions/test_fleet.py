"""A fleet that can be asked and changed: filters, labels, facts, and changes on all commands that match."""

import json
from typing import Any

import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import (
    AGENT,
    KEY,
    LIST,
    REGISTER,
    Run,
    ask,
    connection_of_sample,
    message_event,
    request,
)
from tests.rows import connect_new_agent, put

AGENTS = "/api/v1/agents"
EU, US = {"region": "eu"}, {"region": "us"}


@pytest.fixture
def fleet(run: Run, conn: Connection) -> None:
    """Two agents in each region; each of eu-1 and us-1 has three commands."""
    for name, labels in (("eu-1", EU), ("eu-2", EU), ("us-1", US), ("us-2", US)):
        ask(run, "agents", "POST", AGENTS, {"agentId": name, "platform": "linux", "labels": labels})
    for agent_id in ("eu-1", "us-1"):
        put(conn, f"p-{agent_id}", agent_id, action="deploy", submitted_by="ann")
        put(conn, f"f-{agent_id}", agent_id, status="failed", submitted_by="bob")
        put(conn, f"d-{agent_id}", agent_id, status="dead", created_at="2026-01-01")


def listed(run: Run, query: str, **options: Any) -> list[str]:
    """Return the ids of the commands that a query lists, sorted."""
    status, body = ask(run, "commands", "GET", f"{LIST}?{query}", **options)
    assert status == 200, body
    assert body["nextCursor"] is None
    return sorted(command["commandId"] for command in body["commands"])


@pytest.mark.usefixtures("fleet")
def test_commands_are_listed_by_every_filter(run: Run) -> None:
    """Statuses may be joined or repeated; a selector is about the agent."""
    assert listed(run, "status=pending,dead&agentId=eu-1") == ["d-eu-1", "p-eu-1"]
    assert listed(run, "status=pending&status=dead&agentId=eu-1") == ["d-eu-1", "p-eu-1"]
    assert listed(run, "action=deploy") == ["p-eu-1", "p-us-1"]
    assert listed(run, "submittedBy=bob&selector=region%3Deu") == ["f-eu-1"]
    assert listed(run, "until=2026-01-02T00:00:00Z") == ["d-eu-1", "d-us-1"]
    assert listed(run, "since=2026-01-02T00:00:00Z&selector=region%20notin%20(us)") == ["f-eu-1", "p-eu-1"]
    assert listed(run, "selector=region", labels=EU) == ["d-eu-1", "f-eu-1", "p-eu-1"]


@pytest.mark.usefixtures("fleet")
def test_agents_are_listed_by_every_filter(run: Run) -> None:
    """Each with what waits for it."""
    status, body = ask(
        run, "agents", "GET", f"{AGENTS}?selector=region%3Deu&backlog=true&presence=offline&platform=linux"
    )
    searched = ask(run, "agents", "GET", f"{AGENTS}?search=S-&approval=approved", labels=US)[1]["agents"]

    assert status == 200
    assert body["nextCursor"] is None
    (agent,) = body["agents"]
    assert (agent["agentId"], agent["pendingCount"], agent["facts"]) == ("eu-1", 1, {})
    assert agent["oldestPendingAt"] is not None
    assert [agent["agentId"] for agent in searched] == ["us-1", "us-2"]


@pytest.mark.parametrize(
    ("function", "method", "path", "body", "at"),
    [
        ("agents", "GET", f"{AGENTS}?selector=env%20in%20prod", None, "query/selector"),
        ("commands", "GET", f"{LIST}?selector=env%20in%20prod", None, "query/selector"),
        ("commands", "POST", f"{LIST}/cancel", {"filter": {"selector": "env in prod"}}, "body/filter/selector"),
    ],
)
def test_a_bad_selector_is_refused_with_its_place(
    run: Run, *, function: str, method: str, path: str, body: Any, at: str
) -> None:
    """As every other mistake of a request."""
    status, problem = ask(run, function, method, path, body)

    assert status == 422
    assert problem["errors"] == [{"at": at, "is": "at character 8: expected `(`, found `prod`"}]


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
def test_a_patch_merges_labels_and_region(run: Run, conn: Connection, content_type: str) -> None:
    """A label that is null is removed; what is not named stays; the audit log has both."""
    path = f"{AGENTS}/eu-1"
    first = ask(
        run, "agents", "PATCH", path, {"labels": {"zone": "eu-1", "old": "x"}, "region": "r"}, content_type=content_type
    )
    second = ask(run, "agents", "PATCH", path, {"labels": {"old": None}}, content_type=content_type)
    third = ask(run, "agents", "PATCH", path, {"region": None}, content_type=content_type)

    assert (first[0], first[1]["labels"], first[1]["region"]) == (200, {**EU, "zone": "eu-1", "old": "x"}, "r")
    assert (second[1]["labels"], second[1]["region"]) == ({**EU, "zone": "eu-1"}, "r")
    assert (third[1]["labels"], third[1]["region"]) == ({**EU, "zone": "eu-1"}, None)
    detail = conn.execute("select detail from audit_log where action = 'change agent' order by audit_id").fetchone()
    assert detail == (
        {
            "before": {"labels": EU, "region": None},
            "after": {"labels": {**EU, "zone": "eu-1", "old": "x"}, "region": "r"},
        },
    )


@pytest.mark.usefixtures("fleet")
def test_a_patch_of_what_somebody_else_has_changed_is_refused(run: Run) -> None:
    """Whoever sends the ETag of what they read overwrites nothing that they have not seen."""
    path, mine, theirs = f"{AGENTS}/eu-1", {"labels": {"tier": "mine"}}, {"labels": {"tier": "theirs"}}
    tag = run("agents", request("GET", path))["headers"]["ETag"]

    changed = run("agents", request("PATCH", path, theirs, if_match=tag))
    refused, problem = ask(run, "agents", "PATCH", path, mine, if_match=tag)
    seen, _ = ask(run, "agents", "PATCH", path, mine, if_match=f'"other", {changed["headers"]["ETag"]}')
    any_version, agent = ask(run, "agents", "PATCH", path, {"region": "r"}, if_match="*")

    assert (changed["statusCode"], refused, seen, any_version) == (200, 412, 200, 200)
    assert problem["type"].endswith(":changed-meanwhile")
    assert agent["labels"] == {**EU, "tier": "mine"}


@pytest.mark.usefixtures("fleet")
def test_agents_are_listed_by_what_waits_longest(run: Run, conn: Connection) -> None:
    """Page by page, within filters and label limits; a cursor of the other order is none."""
    put(conn, "oldest", "us-2", created_at="2025-01-01")
    path = f"{AGENTS}?sort=oldestDue"

    first = ask(run, "agents", "GET", f"{path}&limit=1")[1]
    rest = ask(run, "agents", "GET", f"{path}&limit=5&cursor={first['nextCursor']}")[1]
    within = ask(run, "agents", "GET", f"{path}&presence=offline&selector=region", labels=EU)[1]

    assert [agent["agentId"] for agent in first["agents"] + rest["agents"]] == ["us-2", "eu-1", "us-1"]
    assert rest["nextCursor"] is None
    assert [agent["agentId"] for agent in within["agents"]] == ["eu-1"]
    assert ask(run, "agents", "GET", f"{path}&cursor=YTE")[0] == 400


@pytest.mark.usefixtures("fleet")
def test_values_that_occur_are_listed_to_choose_from(run: Run) -> None:
    """Those of labels as a selector has them; a label limit shows no value that only others have."""

    def values(query: str, **options: Any) -> list[str]:
        status, body = ask(run, "commands", "GET", f"/api/v1/values?of={query}", role=Role.READER, **options)
        assert status == 200, body
        found: list[str] = body["values"]
        return found

    assert values("label") == ["region", "region=eu", "region=us"]
    assert values("label&search=%3DEU") == ["region=eu"]
    assert values("label", labels=US) == ["region", "region=us"]
    assert values("platform") == ["linux"]
    assert values("action") == ["deploy", "noop"]
    assert values("action&search=PLO&limit=1") == ["deploy"]
    assert values("submittedBy") == ["ann", "bob"]
    assert values("submittedBy", labels={"region": "asia"}) == []
    assert values("action", labels=EU) == ["deploy", "noop"]


def test_only_a_patch_may_be_a_merge_patch(run: Run) -> None:
    """And a patch is nothing else."""
    body = {"agentId": "a", "platform": "linux"}
    posted = ask(run, "agents", "POST", AGENTS, body, content_type="application/merge-patch+json")[0]
    patched = ask(run, "agents", "PATCH", f"{AGENTS}/a", body, content_type="application/json-patch+json")[0]

    assert (posted, patched) == (415, 415)


@pytest.mark.usefixtures("fleet")
def test_a_limited_admin_keeps_an_agent_on_their_side(run: Run, conn: Connection) -> None:
    """They can neither give it away, nor give it to others too, nor take it from others, nor touch what they do not see."""
    conn.execute(
        """insert into operators (username, password_hash, role, labels) values
           ('team-b', 'x', 'reader', '{"team": "b"}'), ('part', 'x', 'reader', '{"region": "eu", "part": "1"}')"""
    )

    def patch(agent_id: str, labels: Any) -> int:
        return ask(run, "agents", "PATCH", f"{AGENTS}/{agent_id}", {"labels": labels}, labels=EU)[0]

    assert patch("eu-1", {"region": "us"}) == 403
    assert patch("eu-1", {"region": None}) == 403
    assert patch("eu-1", None) == 403
    assert patch("eu-1", {"team": "b"}) == 403
    conn.execute("update agents set labels = labels || '{\"team\": \"b\"}' where agent_id = 'eu-2'")
    assert patch("eu-2", {"team": None}) == 403
    assert patch("eu-2", {"zone": "1"}) == 200
    assert patch("us-1", {"x": "y"}) == 404
    assert patch("eu-1", {"part": "1"}) == 200
    assert ask(run, "agents", "PATCH", f"{AGENTS}/eu-1", {"labels": {}}, role=Role.SENDER)[0] == 403


@pytest.mark.usefixtures("agent")
def test_agents_report_facts_when_they_register_and_when_connected(run: Run) -> None:
    """What it said last counts; too much is refused or dropped."""
    body = {"agentId": AGENT, "platform": "kubernetes"}
    large = {"x": "y" * 17_000}

    def facts() -> Any:
        return ask(run, "agents", "GET", f"{AGENTS}/{AGENT}")[1]["facts"]

    def register(**more: Any) -> int:
        return ask(run, "agents", "POST", REGISTER, body | more, role=None, X_Agent_Api_Key=KEY)[0]

    assert register(facts={"os": "linux"}) == 200
    assert facts() == {"os": "linux"}
    assert register() == 200
    assert facts() == {"os": "linux"}
    assert register(facts=large) == 422
    run("connect")
    run("message", message_event(connection_of_sample(), {"type": "facts", "facts": {"cpus": 4}}))
    assert facts() == {"cpus": 4}
    run("message", message_event(connection_of_sample(), {"type": "facts", "facts": large}))
    run("message", message_event(connection_of_sample(), {"type": "facts", "facts": []}))
    assert facts() == {"cpus": 4}


@pytest.mark.usefixtures("fleet")
def test_all_matching_commands_are_cancelled_as_one_change(run: Run, conn: Connection) -> None:
    """Counted first, refused where another number was expected, and only within the operator's labels."""
    path, wanted = f"{LIST}/cancel", {"action": "deploy"}

    counted = ask(run, "commands", "POST", path, {"filter": wanted, "dryRun": True})
    refused = ask(run, "commands", "POST", path, {"filter": wanted, "expectedCount": 1})
    own = ask(run, "commands", "POST", path, {"filter": wanted, "expectedCount": 1, "reason": "r"}, labels=EU)
    again = ask(run, "commands", "POST", path, {"filter": wanted}, labels=EU)

    assert counted == (200, {"matched": 2, "changed": 0})
    assert (refused[0], refused[1]["matched"]) == (409, 2)
    assert own == (202, {"matched": 1, "changed": 1})
    assert again == (202, {"matched": 0, "changed": 0})
    assert listed(run, "status=cancelled") == ["p-eu-1"]
    changes = conn.execute("select detail from audit_log where action = 'cancel commands' order by audit_id").fetchall()
    assert changes[0] == ({"filter": wanted, "matched": 1, "changed": 1, "reason": "r"},)


def test_commands_under_way_are_asked_to_stop(run: Run, conn: Connection) -> None:
    """As by the cancel of one command; what has timed out only if its status is named."""
    connect_new_agent(conn)
    put(conn, "k1", status="acknowledged", attempt=1)
    put(conn, "k2", status="timed_out", attempt=1)

    def wanted() -> dict[str, bool]:
        return dict(conn.execute("select command_id, stop_wanted from agent_commands").fetchall())

    unnamed = ask(run, "commands", "POST", f"{LIST}/cancel", {"filter": {"agentId": "a1"}})
    after_unnamed = wanted()
    named = ask(run, "commands", "POST", f"{LIST}/cancel", {"filter": {"agentId": "a1", "status": "timed_out,dead"}})

    assert unnamed == named == (202, {"matched": 1, "changed": 1})
    assert after_unnamed == {"k1": True, "k2": False}
    assert wanted() == {"k1": True, "k2": True}


@pytest.mark.usefixtures("fleet")
def test_all_matching_commands_are_redriven_once(run: Run, conn: Connection) -> None:
    """A repeated request does nothing more; commands of deleted agents do not match."""
    path, body = f"{LIST}/redrive", {"filter": {"status": ["failed", "dead"]}}
    ask(run, "agents", "DELETE", f"{AGENTS}/us-1")

    counted = ask(run, "commands", "POST", path, body | {"dryRun": True})
    first = ask(run, "commands", "POST", path, body | {"expectedCount": 2})
    second = ask(run, "commands", "POST", path, body)

    assert counted == (200, {"matched": 2, "changed": 0})
    assert first == (202, {"matched": 2, "changed": 2})
    assert second == (202, {"matched": 0, "changed": 0})
    redriven = conn.execute("select redrive_of from agent_commands where redrive_of is not null order by 1").fetchall()
    assert redriven == [("d-eu-1",), ("f-eu-1",)]
    change = conn.execute("select detail ->> 'changed' from audit_log where action = 'redrive commands'").fetchone()
    assert change == ("2",)


@pytest.mark.parametrize("change", ["cancel", "redrive"])
def test_a_filter_that_names_nothing_needs_a_number(run: Run, conn: Connection, change: str) -> None:
    """So that a slip does not cancel everything; a misspelt name is refused, too."""
    put(conn, "k1", status="pending" if change == "cancel" else "failed")

    empty = ask(run, "commands", "POST", f"{LIST}/{change}", {"filter": {}})
    misspelt = ask(run, "commands", "POST", f"{LIST}/{change}", {"filter": {"agentID": "a1"}})
    counted = ask(run, "commands", "POST", f"{LIST}/{change}", {"filter": {}, "dryRun": True})

    assert (empty[0], misspelt[0], counted[0]) == (422, 422, 200)
    assert json.dumps(empty[1]).count("expectedCount")
    assert ask(run, "commands", "POST", f"{LIST}/{change}", {"filter": {}}, role=Role.READER)[0] == 403


def test_more_than_one_request_may_change_is_refused_with_the_count(
    run: Run, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with what to do."""
    monkeypatch.setattr("dispatcher.commands.bulk.MOST", 2)
    for number in range(3):
        put(conn, f"k{number}")

    status, problem = ask(run, "commands", "POST", f"{LIST}/cancel", {"filter": {"agentId": "a1"}})

    assert (status, problem["matched"]) == (422, 3)
    assert "narrow it" in problem["detail"]
    assert conn.execute("select count(*) from agent_commands where status = 'pending'").fetchone() == (3,)


def test_the_events_of_an_agent_are_its_own_and_not_those_of_an_earlier_one(run: Run) -> None:
    """Newest first, page by page; what happened to its commands is not among them."""
    last: dict[str, Any] = {}
    first: dict[str, Any] = {}
    for _ in range(2):  # the second one is another agent of the same id
        ask(run, "agents", "POST", "/api/v1/agents", {"agentId": "a9", "platform": "linux"})
        ask(run, "commands", "POST", "/api/v1/agents/a9/commands", {"action": "noop"})
        ask(run, "agents", "POST", "/api/v1/agents/a9/reject")
        ask(run, "agents", "POST", "/api/v1/agents/a9/approve")
        last = ask(run, "agents", "GET", "/api/v1/agents/a9/events?limit=2")[1]
        first = ask(run, "agents", "GET", f"/api/v1/agents/a9/events?limit=2&cursor={last['nextCursor']}")[1]
        ask(run, "agents", "DELETE", "/api/v1/agents/a9")

    assert [event["type"] for event in last["events"]] == ["agent.approved", "agent.rejected"]
    assert [event["type"] for event in first["events"]] == ["agent.created"]
    assert first["nextCursor"] is None
    assert ask(run, "agents", "GET", "/api/v1/agents/a9/events")[0] == 404
