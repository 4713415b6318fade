"""What each step costs: round trips, commits, posts, index entries, rows and imports.  Nothing here measures time."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dispatcher.access.callers import Caller
from dispatcher.access.roles import Operator, Role
from dispatcher.agents import connections
from dispatcher.agents.connections import Origin
from dispatcher.commands import conversation, flush, submission
from dispatcher.commands.delivery import deliver, deliver_at_once
from dispatcher.commands.flush import FlushRequest
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform import database
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from dispatcher.protocol.said import Said
from dispatcher.sessions.session_records import SessionStates
from dispatcher.webhooks import webhook_run
from tests.database_proxy import Traffic, counted
from tests.fakes import FakeGateway, plenty
from tests.function_environment import function_environment
from tests.integration.functions.events import KEY_ID
from tests.rows import connect, connect_new_agent, create_agent, put, report, report_of, say, statuses

OPERATOR = Operator(username="ann", role=Role.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a step costs."""

    round_trips: int
    commits: int
    posts: int
    statements: int | None = None
    """None: one in each round trip."""

    def __post_init__(self) -> None:
        """Fill the number of statements."""
        if self.statements is None:
            object.__setattr__(self, "statements", self.round_trips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment of a function whose statements are counted."""

    traffic: Traffic
    gateway: FakeGateway

    def cost_of(self, step: Callable[[FakeGateway], object]) -> Cost:
        """Do one step as a function does it, with a connection that is open already; return what it cost."""
        with database.connect():
            pass
        self.traffic.reset()
        posts = len(self.gateway.frames)
        step(self.gateway)
        return Cost(
            round_trips=self.traffic.round_trips,
            commits=self.traffic.commits,
            statements=self.traffic.statements,
            posts=len(self.gateway.frames) - posts,
        )

    def cost_of_message(self, body: dict[str, Any]) -> Cost:
        """Return what a message of the agent costs."""
        said = Said(agent_id="a1", connection_id="c1", text=json.dumps(body), key_id=KEY_ID)
        return self.cost_of(lambda gateway: conversation.handle(said, "e", gateway, SessionStates(), plenty))


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """A function's environment with its own connection, through a proxy that counts."""
    with counted(database_url) as (url, traffic), function_environment(url, monkeypatch):
        yield Environment(traffic=traffic, gateway=FakeGateway())


def test_the_proxy_counts_statements_transactions_and_pipelines(environment: Environment) -> None:
    """Otherwise this file would prove nothing."""

    def three_statements(_gateway: FakeGateway) -> None:
        with database.connect() as mine:
            mine.execute("select 1")
            with mine.transaction():
                mine.execute("select 2")

    def one_pipeline(_gateway: FakeGateway) -> None:
        with database.connect() as mine, mine.pipeline():
            mine.execute("select 1")
            mine.execute("select 2")

    assert environment.cost_of(three_statements) == Cost(round_trips=4, commits=2, posts=0)
    assert environment.cost_of(one_pipeline) == Cost(round_trips=1, commits=1, posts=0, statements=2)


def test_a_message_of_protocol_2_that_settles_and_delivers(conn: Connection, environment: Environment) -> None:
    """One call settles and claims, the post, one call gives the lease back and looks once more."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=2)
    for number in range(6):
        put(conn, f"k{number}")
    deliver(conn, FakeGateway(), "a1", plenty)
    reports = [
        each for number in range(2) for each in (report_of("ack", f"k{number}"), report_of("complete", f"k{number}"))
    ]

    cost = environment.cost_of_message({"type": "reports", "reports": reports})

    assert cost == Cost(round_trips=2, commits=2, posts=1)
    assert list(statuses(conn).values()) == ["completed"] * 2 + ["sent"] * 2 + ["pending"] * 2


def test_a_confirmation_costs_a_post_and_no_statement(conn: Connection, environment: Environment) -> None:
    """It follows the commit of what it confirms."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=2)
    put(conn, "k1", status="sent", attempt=1, epoch=1)

    cost = environment.cost_of_message({"type": "reports", "id": "r", "reports": [report_of("complete")]})

    assert cost == Cost(round_trips=1, commits=1, posts=1)


def test_a_confirmation_comes_with_the_commands(conn: Connection, environment: Environment) -> None:
    """If the agent takes it so, as the SDK does: what it makes room for is on its way at once."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=1)
    put(conn, "k1", status="sent", attempt=1, epoch=1)
    put(conn, "k2")
    reports = [report_of("ack", "k1"), report_of("complete", "k1")]

    cost = environment.cost_of_message({"type": "reports", "id": "r", "receivedInCommands": True, "reports": reports})

    [(_, text)] = environment.gateway.frames
    message = json.loads(text)
    assert cost == Cost(round_trips=2, commits=2, posts=1)
    assert (message["received"], [each["commandId"] for each in message["commands"]]) == (["r"], ["k2"])


def test_the_messages_of_the_first_protocol(conn: Connection, environment: Environment) -> None:
    """The ack brings the next command; the result finds it on its way."""
    connect_new_agent(conn)
    for number in range(3):
        put(conn, f"k{number}")
    deliver(conn, FakeGateway(), "a1", plenty)

    ack = environment.cost_of_message({"type": "ack", "payload": {"commandId": "k0"}})
    result = environment.cost_of_message({"type": "complete", "payload": {"commandId": "k0"}})

    assert ack == Cost(round_trips=1, commits=1, posts=1)
    assert result == Cost(round_trips=1, commits=1, posts=0)
    assert environment.gateway.command_ids == ["k1"]


def test_the_answers_of_a_docker_agent(conn: Connection, environment: Environment) -> None:
    """Two calls: a command without an ack has another deadline once it was posted."""
    connect_new_agent(conn, platform="docker")
    for number in range(3):
        put(conn, f"k{number}", session_id="s")
    deliver(conn, FakeGateway(), "a1", plenty)

    cost = environment.cost_of_message({"type": "command_response", "sessionId": "s", "success": True})

    assert cost == Cost(round_trips=2, commits=2, posts=1)


@pytest.mark.parametrize("mode", DeliveryMode)
def test_a_heartbeat(conn: Connection, environment: Environment, mode: DeliveryMode) -> None:
    """One statement; it also looks for what was missed."""
    connect_new_agent(conn, mode=mode)

    cost = environment.cost_of_message({"type": "heartbeat", "payload": {"activeSessions": 1}})

    assert cost == Cost(round_trips=1, commits=1, posts=0)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (DeliveryMode.ACKNOWLEDGING, Cost(round_trips=1, commits=1, posts=1)),
        (DeliveryMode.BATCHING, Cost(round_trips=2, commits=2, posts=1)),
        (DeliveryMode.UNACKNOWLEDGED, Cost(round_trips=2, commits=2, posts=1)),
    ],
)
@pytest.mark.parametrize("key", [None, "k"])
def test_a_submission_to_a_connected_agent(
    conn: Connection, environment: Environment, mode: DeliveryMode, expected: Cost, key: str | None
) -> None:
    """Accepted, claimed, posted, and given back."""
    connect_new_agent(conn, mode=mode, window=9)
    new = NewCommand(agent_id="a1", action="noop", payload={}, idempotency_key=key)

    def submit(gateway: FakeGateway) -> None:
        with database.connect() as mine:
            accepted = submission.submit(mine, new, OPERATOR, claim=True)
            if accepted.claim is not None:
                deliver_at_once(mine, gateway, "a1", plenty, claim=accepted.claim)

    assert environment.cost_of(submit) == expected
    assert list(statuses(conn).values()) == ["sent"]


def test_the_rights_of_a_caller_cost_nothing_more(conn: Connection, environment: Environment) -> None:
    """They are read by the statement that submits."""
    create_agent(conn)
    conn.execute("insert into operators (username, password_hash, role) values ('ann', 'x', 'sender')")
    ann = Caller(source_ip="192.0.2.1", username="ann", issued_at=time.time() + 1)

    def submit(_gateway: FakeGateway) -> None:
        with database.connect() as mine:
            submission.submit(mine, NewCommand(agent_id="a1", action="noop"), ann, claim=True)

    assert environment.cost_of(submit) == Cost(round_trips=1, commits=1, posts=0)


@pytest.mark.parametrize("size", [1, 2])
def test_a_submission_needs_no_trigger_to_fill_its_columns(conn: Connection, size: int) -> None:
    """The trigger that completes an insert by hand costs a fifth of a list's time."""
    create_agent(conn)
    conn.execute(
        "create or replace function agent_commands_admit() returns trigger language plpgsql as"
        " $$ begin raise exception 'called for moves %', new.moves; end $$"
    )

    entries = submission.submit_list(conn, [NewCommand(agent_id="a1", action="noop")] * size, None, OPERATOR)

    with pytest.raises(psycopg.errors.RaiseException, match="called for moves <NULL>"):
        put(conn, "k1")
    assert len(entries) == size


@pytest.mark.parametrize("size", [1, 1000])
def test_a_list_of_any_size_is_one_statement(conn: Connection, environment: Environment, size: int) -> None:
    """And one more that finds which agents are connected."""
    create_agent(conn)
    new = [NewCommand(agent_id="a1", action="noop")] * size

    def submit(_gateway: FakeGateway) -> None:
        with database.connect() as mine:
            flush.hand_over(mine, [each.agent_id for each in submission.submit_list(mine, new, None, OPERATOR)])

    assert environment.cost_of(submit) == Cost(round_trips=2, commits=2, posts=0)


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_new_connection(conn: Connection, environment: Environment, waiting: int) -> None:
    """One call records it, whatever was under way."""
    connect_new_agent(conn, connection_id="old")
    put(conn, "k1")
    deliver(conn, FakeGateway(), "a1", plenty)

    def open_it(gateway: FakeGateway) -> None:
        with database.connect() as mine:
            opened = connections.open_connection(mine, "a1", "c1", handshake=Handshake(), origin=Origin())
            assert opened is not None
            connections.close_superseded(gateway, opened)

    def flush_it(gateway: FakeGateway) -> None:
        if not waiting:
            conn.execute("update agent_commands set status = 'cancelled', cause = 'by the test'")
        with database.connect() as mine:
            flush.flush(mine, gateway, FlushRequest(agent_id="a1", connection_id="c1", epoch=2), plenty)

    assert environment.cost_of(open_it) == Cost(round_trips=1, commits=1, posts=0)
    # The handshake is over and the claim, in one call; after a second attempt its longer ack deadline.
    assert environment.cost_of(flush_it) == Cost(round_trips=1 + waiting, commits=1 + waiting, posts=waiting)


@pytest.mark.parametrize("came_back", [False, True])
def test_a_new_connection_of_protocol_2(conn: Connection, environment: Environment, *, came_back: bool) -> None:
    """What flush asks: is the agent welcomed; what arrived before, if anything may have; and then the claim and its release."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, connection_id="old")
    put(conn, "k1")
    if came_back:
        deliver(conn, FakeGateway(), "a1", plenty)
        say(conn, "ack", connection_id="old", commandId="k2")  # it has spoken, and its commands went out long ago
        conn.execute("update agent_commands set sent_at = sent_at - interval '1 minute'")
    requests: list[FlushRequest] = []

    def open_it(_gateway: FakeGateway) -> None:
        with database.connect() as mine:
            handshake = Handshake(mode=DeliveryMode.BATCHING)
            opened = connections.open_connection(mine, "a1", "c1", handshake=handshake, origin=Origin())
            assert opened is not None
            requests.append(FlushRequest.of_new("a1", "c1", opened))

    def flush_it(gateway: FakeGateway) -> None:
        with database.connect() as mine:
            flush.flush(mine, gateway, requests[0], plenty)

    assert environment.cost_of(open_it) == Cost(round_trips=1, commits=1, posts=0)
    assert requests[0].may_have_arrived is came_back
    if came_back:
        conn.execute("update agents set spoke = true")
    assert environment.cost_of(flush_it) == Cost(round_trips=3 + came_back, commits=3 + came_back, posts=2)


def test_a_flush_costs_two_round_trips_and_a_post_for_each_window(conn: Connection, environment: Environment) -> None:
    """Protocol 2, a window of 100: less than a fiftieth of a round trip for each command."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=100)
    for number in range(100):
        put(conn, f"k{number}")

    def deliver_all(gateway: FakeGateway) -> None:
        with database.connect() as mine:
            deliver(mine, gateway, "a1", plenty)

    assert environment.cost_of(deliver_all) == Cost(round_trips=2, commits=2, posts=1)
    assert set(statuses(conn).values()) == {"sent"}


@pytest.mark.parametrize("agents", [1, 40])
def test_a_sweep_without_work_costs_the_same_for_any_number_of_agents(
    conn: Connection, environment: Environment, agents: int
) -> None:
    """Idle agents cost nothing but their heartbeats; half of this is the overview, which counts what is new in the history."""
    for number in range(agents):
        connect_new_agent(conn, f"a{number}", f"c{number}")
    # As the sweep of a minute ago leaves it: the database of this test was migrated at any time.
    conn.execute("update overviews set rolled_until = date_trunc('minute', now() - interval '90 seconds')")

    def sweep_once(gateway: FakeGateway) -> None:
        with database.connect() as mine:
            sweep(mine, gateway, deadline=plenty)

    cost = environment.cost_of(sweep_once)

    assert cost.posts == 0
    assert cost.round_trips <= 23
    assert cost.commits <= 14


def test_a_run_of_the_deliveries_without_a_webhook(environment: Environment) -> None:
    """It runs each minute, in each deployment: one look is enough."""

    def run_once(_gateway: FakeGateway) -> None:
        with database.connect() as mine:
            webhook_run.run(mine, "key", deadline=plenty)

    assert environment.cost_of(run_once) == Cost(round_trips=1, commits=1, posts=0)


def index_entries(conn: Connection) -> int:
    """Count the entries that the only command has in all indexes of its table."""
    rows = conn.execute(
        "select pg_get_expr(indpred, indrelid) from pg_index where indrelid = 'agent_commands'::regclass"
    ).fetchall()
    total = 0
    for (predicate,) in rows:
        condition = sql.SQL(predicate or "true")
        row = conn.execute(sql.SQL("select count(*) from agent_commands where {}").format(condition)).fetchone()
        assert row is not None
        total += row[0]
    return total


def index_names(conn: Connection, table: str) -> list[str]:
    """Return the names of the indexes of a table."""
    return [
        name
        for (name,) in conn.execute(
            "select indexrelid::regclass::text from pg_index where indrelid = %s::regclass order by 1", (table,)
        ).fetchall()
    ]


def updates(conn: Connection) -> tuple[int, int]:
    """Return how many updates of commands this transaction has made, and how many of them needed no index entry."""
    row = conn.execute(
        "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables where relname = 'agent_commands'"
    ).fetchone()
    assert row is not None
    return row


def test_a_command_writes_few_index_entries(conn: Connection) -> None:
    """From its acceptance to its end, with an ack and a result in one message: three versions of its row."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    with conn.transaction(force_rollback=True):
        accepted = submission.submit(conn, NewCommand(agent_id="a1", action="noop"), OPERATOR)
        entries = [index_entries(conn)]
        deliver(conn, FakeGateway(), "a1", plenty)
        entries.append(index_entries(conn))
        command_id = accepted.command.command_id
        report(conn, report_of("ack", command_id), report_of("complete", command_id))
        entries.append(index_entries(conn))
        moves = updates(conn)
        history = conn.execute("select count(*) from command_history").fetchone()

    assert entries == [3, 4, 3]
    assert moves == (2, 0)
    assert history == (4,)
    assert [index_names(conn, table) for table in ("command_list", "audit_log")] == [
        [
            "command_list_action",
            "command_list_agent",
            "command_list_redrives",  # partial, as the next one and the one of who submitted it
            "command_list_session",
            "command_list_submitter",
            "command_list_time",
        ],
        ["audit_log_actor", "audit_log_agent", "audit_log_command", "audit_log_list", "audit_log_pkey"],
    ]


def inserted(conn: Connection) -> Counter[str]:
    """Return how many rows this session has inserted into each table."""
    return Counter(
        dict(conn.execute("select relname, n_tup_ins from pg_stat_xact_user_tables where n_tup_ins > 0").fetchall())
    )


def test_the_feed_costs_a_command_one_index_entry_for_each_event(conn: Connection) -> None:
    """Its history is the feed: no transition is written twice."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    with conn.transaction(force_rollback=True):
        before = inserted(conn)
        accepted = submission.submit(conn, NewCommand(agent_id="a1", action="noop"), OPERATOR)
        deliver(conn, FakeGateway(), "a1", plenty)
        command_id = accepted.command.command_id
        report(conn, report_of("ack", command_id), report_of("complete", command_id))
        rows = inserted(conn) - before
    indexes = conn.execute(
        """
        select c.relname, i.indpred is null
        from pg_index i
        join pg_class c on c.oid = i.indexrelid
        where i.indrelid = 'command_history'::regclass
        order by c.relname
        """
    ).fetchall()

    assert rows == {"agent_commands": 1, "command_list": 1, "command_history": 4, "audit_log": 1}
    assert indexes == [
        ("command_history_at", True),  # ranges of pages
        ("command_history_command", True),
        ("command_history_deleted", False),
        ("command_history_feed", True),
    ]


def test_a_list_has_one_audit_entry_for_an_agent(conn: Connection) -> None:
    """Each of its commands has one row in the table, in the lists and in the history."""
    create_agent(conn)
    with conn.transaction(force_rollback=True):
        before = inserted(conn)
        submission.submit_list(conn, [NewCommand(agent_id="a1", action="noop")] * 50, None, OPERATOR)
        rows = inserted(conn) - before
        entries = index_entries(conn)

    assert rows == {"agent_commands": 50, "command_list": 50, "command_history": 50, "audit_log": 1}
    assert entries == 3 * 50


def test_large_tables_are_analyzed_with_a_small_sample(conn: Connection) -> None:
    """Each of their columns, and what an index computes: the largest sample counts."""
    columns = conn.execute(
        """
        select a.attrelid::regclass::text, a.attname
        from pg_attribute a
        left join pg_index i on i.indexrelid = a.attrelid and i.indkey[a.attnum - 1] = 0
        where coalesce(i.indrelid, a.attrelid) in (
            'agent_commands'::regclass, 'command_history'::regclass, 'command_list'::regclass, 'audit_log'::regclass)
          and a.attnum > 0
          and not a.attisdropped
          and a.attstattarget is distinct from 10
        """
    ).fetchall()

    assert columns == []


def test_only_what_becomes_of_an_agent_is_an_event(conn: Connection) -> None:
    """A sign of life, a lease and a pause are none."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    put(conn, "k1")
    with conn.transaction(force_rollback=True):
        before = inserted(conn)
        say(conn, "heartbeat")
        deliver(conn, FakeGateway(), "a1", plenty)
        alive = inserted(conn)
        connect(conn, connection_id="c2", mode=DeliveryMode.BATCHING)
        anew = inserted(conn)

    assert (alive - before)["agent_events"] == 0
    assert (anew - alive)["agent_events"] == 1


def test_a_refused_or_missing_agent_costs_no_write(conn: Connection) -> None:
    """An ack that changes nothing, and a claim of an agent without work, update no command."""
    connect_new_agent(conn)
    put(conn, "k1", status="completed", attempt=1)
    with conn.transaction(force_rollback=True):
        say(conn, "ack", commandId="k1")
        connect(conn, connection_id="c2")
        deliver(conn, FakeGateway(), "a1", plenty)
        moves = updates(conn)

    assert moves == (0, 0)


FUNCTIONS = {
    # Modules that are loaded at most, the interpreter's own included: today's number and a few for new versions of libraries.
    "message": 555,
    "heartbeat": 555,
    "connect": 555,
    "disconnect": 540,
    "flush": 555,
    "sweeper": 555,
    "late_reports": 555,
    "authorize_agent": 555,
    "audit": 520,
    "publisher": 540,
    "migrate": 540,
    "webhook": 530,
    "deliver_webhooks": 570,
    "commands": 780,  # with 60 of PyJWT and cryptography: each function of the HTTP API verifies its callers' tokens
    "agents": 780,
    "sessions": 785,
    "webhooks": 775,
    "events": 755,
    "operators": 755,
    "pages": 755,
}
OF_RELEASES = {"deploy", "release_check", "release_gate"}
"""Functions that run once in a deployment: they ask AWS with boto3."""


def test_the_imports_of_every_function_are_limited(root: Path) -> None:
    """A new function gets its limit."""
    assert {path.parent.name for path in (root / "functions").glob("*/app.py")} == {*FUNCTIONS} | OF_RELEASES


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_little(root: Path, function: str) -> None:
    """A cold start pays for each module; boto3 is loaded where something is asked of AWS that is not hot."""
    program = (
        "import importlib.util, sys;"
        f"spec = importlib.util.spec_from_file_location('app', {str(root / 'functions' / function / 'app.py')!r});"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec));"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=root,
        env={"PYTHONPATH": str(root / "layers" / "dispatcher"), "PATH": "/usr/bin:/bin"},
    )
    modules = done.stdout.split()

    assert not {"boto3", "pytest", "moto"} & set(modules)
    assert len(modules) <= FUNCTIONS[function]
