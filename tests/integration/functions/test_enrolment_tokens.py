"""Enrolment tokens: listed, revoked, asked again; they die with their maker's rights."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dispatcher.agents import enrolment
from dispatcher.agents.enrolment import Registration
from dispatcher.errors import DispatcherError
from dispatcher.platform.database import Connection, open_connection
from tests.integration.functions.events import AGENT, KEY, REGISTER, Run, admission, ask, request, sample

PATH = "/api/v1/enrolment-tokens"
EU = {"region": "eu"}


def make(run: Run, **body: Any) -> dict[str, Any]:
    """Create an enrolment token."""
    status, made = ask(run, "agents", "POST", PATH, {"agentId": "edge-1", **body})
    assert status == 201, made
    token: dict[str, Any] = made
    return token


def register(run: Run, key: str, agent_id: str = "edge-1") -> tuple[int, Any]:
    """Register as StreamSpace's k8s-agent does."""
    body = {"agentId": agent_id, "platform": "kubernetes", "metadata": {"kubernetes": True}}
    return ask(run, "agents", "POST", REGISTER, body, role=None, X_Agent_Api_Key=key)


def test_an_agent_that_waits_asks_again_with_its_token_and_comes_in_once_it_is_approved(
    run: Run, conn: Connection
) -> None:
    """Also when the token has expired meanwhile; each answer has the same key, and none is wasted."""
    token = make(run)["token"]

    first = register(run, token)
    again = register(run, token)
    conn.execute("update enrolment_tokens set expires_at = now()")
    expired = register(run, token)
    ask(run, "agents", "POST", "/api/v1/agents/edge-1/approve")
    approved = register(run, token)

    answers = (first, again, expired, approved)
    assert [answer[0] for answer in answers] == [202, 202, 202, 200]
    assert [answer[1]["approvalStatus"] for answer in answers] == ["pending", "pending", "pending", "approved"]
    assert len({answer[1]["apiKey"] for answer in answers}) == 1
    assert admission(run, first[1]["apiKey"], "edge-1") == "Allow"
    assert conn.execute("select count(*) from agent_keys").fetchone() == (1,)
    assert conn.execute("select count(*) from audit_log where action = 'enrol'").fetchone() == (1,)


def test_a_lost_answer_can_be_asked_for_again_until_the_agent_has_connected_or_for_a_while(
    run: Run, conn: Connection
) -> None:
    """Then the token gives nothing any more, and the key goes on."""
    token = make(run, approved=True)["token"]
    key = register(run, token)[1]["apiKey"]

    again = register(run, token)
    conn.execute("update agents set connected_at = now()")
    connected = register(run, token)
    conn.execute("update agents set connected_at = null")
    conn.execute("update agent_keys set created_at = created_at - interval '11 minutes'")
    later = register(run, token)

    assert (again[0], again[1]["apiKey"]) == (200, key)
    assert (connected[0], later[0]) == (401, 401)
    assert register(run, key)[0] == 200


def test_a_reusable_token_lets_its_agent_in_after_each_restart_and_no_other_agent(run: Run, conn: Connection) -> None:
    """Until it expires; it belongs to the agent that used it first."""
    token = make(run, agentId=None, prefix="edge-", approved=True, reusable=True)["token"]
    key = register(run, token)[1]["apiKey"]
    conn.execute("update agents set connected_at = now()")
    conn.execute("update agent_keys set created_at = created_at - interval '1 day'")

    restarted = register(run, token)
    other = register(run, token, "edge-2")
    conn.execute("update enrolment_tokens set expires_at = now()")
    expired = register(run, token)

    assert (restarted[0], restarted[1]["apiKey"]) == (200, key)
    assert (other[0], expired[0]) == (401, 401)


def test_an_agent_that_ignores_its_key_connects_with_its_reusable_token(run: Run, conn: Connection) -> None:
    """StreamSpace's docker-agent does; the token opens connections of this agent only, once it is approved."""
    token = make(run, agentId=None, prefix="edge-", reusable=True)["token"]
    other = make(run, agentId="edge-2")["token"]
    register(run, token)
    register(run, other, "edge-2")
    waiting = admission(run, token, "edge-1")
    for agent_id in ("edge-1", "edge-2"):
        ask(run, "agents", "POST", f"/api/v1/agents/{agent_id}/approve")

    approved = [admission(run, token, agent_id) for agent_id in ("edge-1", "edge-2", "edge-3")]
    not_reusable = admission(run, other, "edge-2")
    conn.execute("update enrolment_tokens set expires_at = now()")

    assert waiting == "Deny"
    assert approved == ["Allow", "Deny", "Deny"]
    assert not_reusable == "Deny"
    assert admission(run, token, "edge-1") == "Deny"


@pytest.mark.parametrize(
    "end", ["the agent is deleted", "the key is revoked", "the token is revoked", "the maker is disabled"]
)
def test_a_reusable_token_opens_no_connection_once_it_lost_its_ground(run: Run, conn: Connection, end: str) -> None:
    """At the next handshake."""
    token = make(run, reusable=True, approved=True)["token"]
    register(run, token)
    before = admission(run, token, "edge-1")

    if end in ENDS:
        conn.execute(ENDS[end].encode())
    else:
        ask(run, "agents", "DELETE", "/api/v1/agents/edge-1")

    assert (before, admission(run, token, "edge-1")) == ("Allow", "Deny")


def test_a_reusable_token_has_one_use(run: Run) -> None:
    """With several, each of its agents could become the others."""
    status, problem = ask(run, "agents", "POST", PATH, {"prefix": "edge-", "reusable": True, "uses": 2})

    assert status == 422
    assert problem["errors"][0]["at"] == "reusable"


ENDS = {
    "the key is revoked": "update agent_keys set revoked_at = now()",
    "the agent is rejected": "update agents set approval = 'rejected'",
    "the token is revoked": "update enrolment_tokens set revoked_at = now()",
    "the maker is disabled": "update operators set disabled_at = now(), valid_after = clock_timestamp()",
    "the maker is no admin any more": "update operators set role = 'sender'",
    "the maker may not see such agents any more": 'update operators set labels = \'{"region": "us"}\'',
    "the maker's password was changed": "update operators set valid_after = clock_timestamp()",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_token_that_lost_its_ground_gives_no_key_again(run: Run, conn: Connection, end: str) -> None:
    """Reusable or not; the agent's key is another matter."""
    token = make(run, approved=True, reusable=True, labels=EU)["token"]
    assert register(run, token)[0] == 200

    conn.execute(ENDS[end].encode())

    assert register(run, token)[0] == 401


@pytest.mark.parametrize("end", [end for end in ENDS if end.startswith(("the maker", "the token"))])
def test_a_token_that_lost_its_ground_enrols_nobody_and_is_not_listed(run: Run, conn: Connection, end: str) -> None:
    """For other admins either."""
    token = make(run, labels=EU)["token"]
    conn.execute("update operators set username = 'the-maker'")
    conn.execute("update enrolment_tokens set created_by = 'the-maker'")
    before = ask(run, "agents", "GET", PATH)[1]["enrolmentTokens"]
    only_the_maker = " where username = 'the-maker'" if "the maker" in end else ""
    conn.execute(f"{ENDS[end]}{only_the_maker}".encode())

    enrolled = register(run, token)[0]
    listed = ask(run, "agents", "GET", PATH)[1]["enrolmentTokens"]

    assert len(before) == 1
    assert (enrolled, listed) == (401, [])
    assert conn.execute("select count(*) from agents").fetchone() == (0,)


def test_tokens_are_listed_read_and_revoked_without_their_secret(run: Run) -> None:
    """An admin who is limited by labels sees only tokens for agents with these labels."""
    ours, theirs = make(run, labels=EU), make(run, agentId=None, prefix="us-", labels={"region": "us"})

    listed = ask(run, "agents", "GET", PATH)[1]
    limited = ask(run, "agents", "GET", PATH, labels=EU)[1]
    read = ask(run, "agents", "GET", f"{PATH}/{ours['tokenId']}")
    hidden = [ask(run, "agents", method, f"{PATH}/{theirs['tokenId']}", labels=EU)[0] for method in ("GET", "DELETE")]
    ask(run, "agents", "GET", PATH)  # the-admin is unlimited again
    revoked = [ask(run, "agents", "DELETE", f"{PATH}/{ours['tokenId'].upper()}")[0] for _ in range(2)]

    assert [token["tokenId"] for token in listed["enrolmentTokens"]] == [ours["tokenId"], theirs["tokenId"]]
    assert listed["nextCursor"] is None
    assert [token["tokenId"] for token in limited["enrolmentTokens"]] == [ours["tokenId"]]
    assert read[0] == 200
    assert read[1]["createdBy"] == "the-admin"
    assert hidden == [404, 404]
    assert revoked == [204, 404]
    assert register(run, ours["token"])[0] == 401
    assert ours["token"] not in json.dumps([listed, read])
    assert ask(run, "agents", "GET", f"{PATH}/{ours['tokenId']}")[0] == 404


def test_of_many_registrations_with_one_token_at_once_each_gets_the_same_key(
    run: Run, conn: Connection, database_url: str
) -> None:
    """An agent that is started twice, or asks again because the first answer takes long."""
    token = make(run)["token"]
    told = Registration(agent_id="edge-1", platform="p", region=None, capacity=None, metadata=None)

    def enrol(_: int) -> str | None:
        with open_connection(database_url) as own:
            return enrolment.register(own, token, told, None).key

    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(enrol, range(16)))

    assert len(keys) == 1
    assert None not in keys
    assert conn.execute("select uses_left from enrolment_tokens").fetchone() == (0,)


def test_of_many_agents_with_one_token_at_once_as_many_enrol_as_it_has_uses(
    run: Run, conn: Connection, database_url: str
) -> None:
    """The uses are counted one by one."""
    token = make(run, agentId=None, prefix="edge-", uses=3)["token"]

    def enrol(number: int) -> bool:
        told = Registration(agent_id=f"edge-{number}", platform="p", region=None, capacity=None, metadata=None)
        with open_connection(database_url) as own:
            try:
                enrolment.register(own, token, told, None)
            except DispatcherError:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        enrolled = list(pool.map(enrol, range(12)))

    assert enrolled.count(True) == 3
    assert conn.execute("select count(*) from agents").fetchone() == (3,)


def test_an_enrolment_that_fails_half_way_leaves_nothing_and_works_the_next_time(run: Run, conn: Connection) -> None:
    """Enrolment and registration are one transaction."""
    token = make(run)["token"]
    conn.execute("alter table agents add constraint broken check (metadata is null)")
    broken = register(run, token)[0]
    left = conn.execute("select (select count(*) from agents), uses_left from enrolment_tokens").fetchone()
    conn.execute("alter table agents drop constraint broken")

    assert broken >= 500
    assert left == (0, 1)
    assert register(run, token)[0] == 202


@pytest.mark.parametrize(
    "agent_id",
    ["site/rack-2", "e-1/../x", "a..b", "connect", "register", "Register", "-a", ".", "..", "a b", "x" * 129],
)
def test_an_agent_that_no_path_can_name_is_refused_everywhere(run: Run, conn: Connection, agent_id: str) -> None:
    """At its creation, in a token, and when it enrols with a prefix."""
    token = make(run, agentId=None, prefix=agent_id[:1] if agent_id[:1].isalnum() else "a", uses=9)["token"]

    created = ask(run, "agents", "POST", "/api/v1/agents", {"agentId": agent_id, "platform": "p"})[0]
    invited = ask(run, "agents", "POST", PATH, {"agentId": agent_id})[0]
    enrolled = register(run, token, agent_id)[0]

    assert (created, invited, enrolled) == (422, 422, 422)
    assert conn.execute("select count(*) from agents").fetchone() == (0,)


def test_an_agent_that_exists_keeps_its_id(run: Run, conn: Connection, agent: str) -> None:
    """It was created before the rule."""
    conn.execute("alter table agent_keys drop constraint agent_keys_agent_id_fkey")
    conn.execute("update agents set agent_id = 'site/rack-2' where agent_id = %s", (agent,))
    conn.execute("update agent_keys set agent_id = 'site/rack-2'")

    assert register(run, KEY, "site/rack-2")[0] == 200
    assert register(run, "1" * 64, "site/rack-2")[0] == register(run, "1" * 64, "site/rack-3")[0] == 422


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "in the header `X-Agent-Api-Key`."),
        ({"Authorization": f"Bearer {KEY}"}, "does not read `Authorization`"),
        ({"X_Agent_Api_Key": KEY[:32]}, "has another form"),
        ({"X_Agent_Api_Key": f"Bearer {KEY}"}, "has another form"),
        ({"X_Agent_Api_Key": "1" * 64}, "id and key do not belong together"),
    ],
)
def test_an_agent_learns_what_is_wrong_with_its_key_and_not_which_agents_exist(
    run: Run, headers: dict[str, str], says: str
) -> None:
    """Each answer depends only on what the agent sent, and can be decoded by agents that read a text in `status`."""
    answers = [
        run("agents", request("POST", REGISTER, {"agentId": name, "platform": "p"}, role=None, **headers))
        for name in (AGENT, "unknown")
    ]

    problem = json.loads(answers[0]["body"])
    names = {name.lower(): text for name, text in answers[0].get("headers", {}).items()}
    names |= {name.lower(): texts[0] for name, texts in answers[0].get("multiValueHeaders", {}).items()}
    assert answers[0] == answers[1]
    assert answers[0]["statusCode"] == 401
    assert says in problem["detail"]
    assert "status" not in problem
    assert names["www-authenticate"].startswith("AgentKey")


@pytest.mark.usefixtures("agent")
def test_no_error_of_a_registration_has_a_number_as_its_status(run: Run) -> None:
    """Whatever went wrong; other paths have it."""
    for raw in ("{", '{"agentId": 1}', '{"agentId": "a/b", "platform": "p"}'):
        answer = run("agents", request("POST", REGISTER, raw=raw, role=None, X_Agent_Api_Key=KEY))
        assert answer["statusCode"] >= 400
        assert "status" not in json.loads(answer["body"])
    assert ask(run, "agents", "GET", "/api/v1/agents/none")[1]["status"] == 404


def test_a_rejected_agent_learns_it_with_its_own_key_only(run: Run, conn: Connection, agent: str) -> None:
    """And not that it is pending: it would ask for ever."""
    conn.execute("update agents set approval = 'rejected'")

    status, problem = register(run, KEY, agent)

    assert status == 403
    assert "rejected" in problem["detail"]
    assert register(run, "1" * 64, agent)[0] == 401


@pytest.mark.usefixtures("agent")
def test_the_authorizer_outlasts_a_passing_error_of_the_database(run: Run, conn: Connection) -> None:
    """The session was ended by an administrator, or the server was restarted: no handshake fails with it."""
    assert admission(run, KEY) == "Allow"
    conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database()"
    )

    assert admission(run, KEY) == "Allow"


@pytest.mark.usefixtures("agent")
def test_an_odd_id_in_the_query_of_a_handshake_is_refused_like_any_other(run: Run) -> None:
    """It raises no error."""
    for agent_id in ("\ud800", "\x00", "x" * 100_000, "é"):
        event = sample("authorize_agent")
        event["headers"]["X-Agent-Api-Key"] = KEY
        event["queryStringParameters"] = {"agent_id": agent_id}
        assert run("authorize_agent", event)["policyDocument"]["Statement"][0]["Effect"] == "Deny"
