"""Submission: a command is accepted when it is committed; a refused one leaves nothing behind."""

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import claims, submission
from dispatcher.commands.delivery import deliver
from dispatcher.commands.submission import Accepted, NewCommand
from dispatcher.errors import (
    DispatcherError,
    IdempotencyKeyReused,
    QueueFull,
    RateExceeded,
    TooLarge,
    UnknownAgent,
    Unprocessable,
)
from dispatcher.platform.database import Connection, open_connection
from dispatcher.platform.functions import call
from dispatcher.protocol.frames import MESSAGE_BYTES
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect_new_agent, create_agent, put, statuses, waits_for_lock

OPERATOR = Operator(username="ann", role=Role.ADMIN)


def new(action: str = "noop", agent_id: str = "a1", **fields: Any) -> NewCommand:
    """Return a new command."""
    return NewCommand(agent_id=agent_id, action=action, **fields)


def one(conn: Connection, action: str = "noop", **fields: Any) -> Accepted:
    """Submit one command and claim for its agent."""
    return submission.submit(conn, new(action, **fields), OPERATOR, claim=True)


def many(conn: Connection, *actions: str, key: str | None = None) -> list[str]:
    """Submit a list of commands; return their ids."""
    entries = submission.submit_list(conn, [new(action) for action in actions], key, OPERATOR)
    return [entry.command_id for entry in entries]


def stored(conn: Connection) -> tuple[int, int, int]:
    """Return how many commands, rows of history and audit entries there are."""
    row = conn.execute(
        "select (select count(*) from agent_commands), (select count(*) from command_history),"
        " (select count(*) from audit_log)"
    ).fetchone()
    assert row is not None
    return row


def at_once(database_url: str, *works: Callable[[Connection], object]) -> list[object]:
    """Do each work in a thread and a session of its own, all at the same moment; return results and problems."""
    barrier = threading.Barrier(len(works))

    def do(work: Callable[[Connection], object]) -> object:
        with open_connection(database_url) as mine:
            barrier.wait()
            try:
                return work(mine)
            except DispatcherError as problem:
                return type(problem)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(do, works))


@pytest.mark.parametrize("payload", [None, "null", "{}", "[]", '{"text": "\\u0001\\""}', "1e400"])
@pytest.mark.parametrize("session_id", [None, "", "s"])
@pytest.mark.parametrize("attempts", [None, 1])
def test_no_message_of_a_command_is_longer_than_what_was_counted(
    conn: Connection, payload: str | None, session_id: str | None, attempts: int | None
) -> None:
    """The limit of a command's size counts the longer one of both protocols' texts."""
    row = conn.execute(
        call(
            "select {f}.bytes('noop', c.session_id, c.payload, c.execution_timeout, c.max_attempts, true),"
            " octet_length({f}.frame(c.command_id, 'noop', c.payload)), octet_length({f}.entry(c))"
            " from jsonb_populate_record(null::agent_commands, jsonb_build_object('command_id', repeat('x', 36),"
            " 'attempt', 1, 'action', 'noop', 'session_id', %s::text, 'payload', %s::jsonb, 'max_attempts', %s::int,"
            " 'execution_timeout', 1, 'deliver_by', now())) as c"
        ),
        (session_id, payload, attempts),
    ).fetchone()

    assert row is not None
    assert row[0] >= max(row[1:])


@pytest.mark.parametrize("payload", ["null", "1e400", '{"n": 12345678901234567890.50}', "[]"])
def test_a_redriven_command_has_the_stored_payload(conn: Connection, payload: str) -> None:
    """The payload is not decoded between the two commands: null stays null, and a number keeps its digits."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    put(conn, "k1", payload=payload, status="dead")

    again = submission.redrive(conn, "k1", OPERATOR).command
    gateway = FakeGateway()
    deliver(conn, gateway, "a1", plenty)

    payloads = conn.execute("select payload::text from agent_commands order by seq").fetchall()
    assert payloads[0] == payloads[1]
    assert [message["commands"][0]["commandId"] for message in gateway.messages] == [again.command_id]


def test_a_submission_claims_what_is_due_for_its_agent(conn: Connection) -> None:
    """In the same transaction, in order: an older command goes first."""
    connect_new_agent(conn)
    put(conn, "older")

    accepted = one(conn)

    assert accepted.claim is not None
    assert [command.command_id for command in accepted.claim.commands] == ["older"]
    assert accepted.command.status == "pending"


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"agent_id": "unknown"}, UnknownAgent),
        ({"agent_id": "deleted"}, UnknownAgent),
        ({"agent_id": "docker", "payload": "text"}, Unprocessable),
        ({"agent_id": "docker", "payload": [1]}, Unprocessable),
        ({"agent_id": "a1", "payload": 7}, Unprocessable),
        ({"agent_id": "any", "payload": "x" * MESSAGE_BYTES}, TooLarge),
        ({"agent_id": "full"}, QueueFull),
    ],
    ids=str,
)
def test_a_refused_command_leaves_nothing_behind(
    conn: Connection,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    problem: type[DispatcherError],
    *,
    listed: bool,
) -> None:
    """Neither a command nor history nor an audit entry; of a list, not the good ones either."""
    monkeypatch.setenv("QUEUE_LIMIT", "2")
    create_agent(conn)
    for agent_id, platform in (("docker", "docker"), ("any", "edge"), ("full", "edge"), ("deleted", "edge")):
        create_agent(conn, agent_id, platform)
    conn.execute("update agents set deleted_at = now() where agent_id = 'deleted'")
    for number in range(2):
        put(conn, f"k{number}", "full")
    before = stored(conn)
    refused = NewCommand(action="noop", **fields)

    def submit(command: NewCommand) -> None:
        if listed:
            submission.submit_list(conn, [new(), command, new()], "key", OPERATOR)
        else:
            submission.submit(conn, command, OPERATOR, claim=True)

    with pytest.raises(problem) as raised:
        submit(refused)

    assert stored(conn) == before
    assert str(fields["agent_id"]) in str(raised.value) or problem is TooLarge
    assert many(conn, "n1", key="key") != []  # the key was not used up


@pytest.mark.parametrize("payload", [{"a": 1}, None, {}])
@pytest.mark.parametrize("platform", ["docker", "kubernetes"])
def test_a_payload_that_an_agent_of_the_first_protocol_reads_is_accepted(
    conn: Connection, platform: str, payload: Any
) -> None:
    """StreamSpace's agents drop everything else without a word, and what waits behind it waits too."""
    create_agent(conn, platform=platform)

    assert one(conn, payload=payload).command.payload == payload


def test_an_agent_of_protocol_2_gets_every_payload(conn: Connection) -> None:
    """On any platform."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)

    for payload in ([1], "text", 7, True):
        assert one(conn, payload=payload).command.payload == payload


@pytest.mark.parametrize("shared", [True, False], ids=["what is shared", "what differs"])
def test_a_command_of_a_list_is_stored_as_a_single_one(conn: Connection, *, shared: bool) -> None:
    """With every member, its history and its audit entry; a list says once what all of its commands share."""
    moment = datetime(2100, 1, 2, 3, 4, 5, 600_700, tzinfo=UTC)
    create_agent(conn)
    create_agent(conn, "a2", "edge")
    put(conn, "old", status="dead", payload='{"n": 12345678901234567890.50}')
    full = new(
        "act",
        "a2",
        payload={"é": [1, None, Decimal("0.10")]},
        session_id="s",
        priority=-3,
        not_before=moment,
        ttl_seconds=60,
        execution_timeout=61,
        max_attempts=7,
        redeliver_after_ack=True,
    )
    redriven = new("again", redrive_of="old")
    commands = [full, full] if shared else [new(), full, redriven, new("act", payload={"sessionId": "t"})]
    by = replace(OPERATOR, reason="test")

    for command in commands:
        submission.submit(conn, command, by)
    submission.submit_list(conn, commands, None, by)

    rows = conn.execute("""
        select
            to_jsonb(c) - '{command_id,seq,created_at,deliver_by,correlation_id}'::text[],
            c.payload::text,
            extract(epoch from c.deliver_by - greatest(c.created_at, c.not_before)),
            (select jsonb_agg(to_jsonb(h) - '{command_id,history_id,at,position}'::text[])
             from command_history h where h.command_id = c.command_id),
            (select jsonb_agg(to_jsonb(l) - '{audit_id,command_id,command_ids,at}'::text[] #- '{detail,commands}')
             from audit_log l where l.command_id = c.command_id or c.command_id = any(l.command_ids)),
            (select count(*) from command_list l where l.command_id = c.command_id and l.created_at = c.created_at)
        from agent_commands c
        where c.command_id <> 'old'
        order by c.seq
        """).fetchall()
    assert rows[: len(commands)] == rows[len(commands) :]
    assert [row[-1] for row in rows] == [1] * len(rows)


def test_the_ids_of_a_list_grow_and_stay_below_those_of_later_commands(conn: Connection) -> None:
    """So that rows that come together lie together in the indexes of ids."""
    create_agent(conn)

    ids = [*many(conn, *["noop"] * 20), one(conn).command.command_id, *many(conn, "noop", "noop")]

    assert ids == sorted(set(ids)) == list(statuses(conn))
    assert all(re.fullmatch("cmd-[0-9a-f]{32}", command_id) for command_id in ids)


@pytest.mark.parametrize("text", ["x", "\x01", "é", '"'])
def test_a_command_of_a_list_may_fill_a_message_and_not_exceed_it(conn: Connection, text: str) -> None:
    """Near the limit the exact size decides, not the upper bound that is asked first."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=9)
    command = new(text * 100, payload="", session_id=text * 100)
    with pytest.raises(TooLarge) as raised:
        submission.submit_list(conn, [replace(command, payload="x" * MESSAGE_BYTES)], None, OPERATOR)
    room = MESSAGE_BYTES - raised.value.members["commandBytes"] + raised.value.members["limit"]

    with pytest.raises(TooLarge) as raised:
        submission.submit_list(conn, [new(), replace(command, payload="x" * (room + 1))], None, OPERATOR)
    submission.submit_list(conn, [new(), replace(command, payload="x" * room)], None, OPERATOR)

    assert raised.value.members["commandBytes"] == raised.value.members["limit"] + 1


@pytest.mark.parametrize("waiting", [0, 3, 5])
def test_a_list_may_fill_a_queue_and_not_exceed_it(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    """Its own commands count, each for its own agent."""
    monkeypatch.setenv("QUEUE_LIMIT", "5")
    create_agent(conn)
    create_agent(conn, "a2")
    for number in range(waiting):
        put(conn, f"k{number}")
    exact = [new() for _ in range(5 - waiting)]
    others = [new(agent_id="a2") for _ in range(5)]

    with pytest.raises(QueueFull) as raised:
        submission.submit_list(conn, [*others, *exact, new()], None, OPERATOR)
    accepted = submission.submit_list(conn, [*others, *exact], None, OPERATOR)

    assert "'a1'" in str(raised.value)
    assert len(accepted) == 10 - waiting


@pytest.mark.parametrize("actions", [["n1", "n2", "n3", "n4", "n5", "n6"], ["noop"] * 6])
def test_the_rate_counts_every_command_of_a_list(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, actions: list[str]
) -> None:
    """Also of those that have one entry in the audit log."""
    monkeypatch.setenv("OPERATOR_RATE", "5")
    create_agent(conn)

    many(conn, *actions[:3])
    with pytest.raises(RateExceeded):
        many(conn, *actions[3:])
    many(conn, *actions[3:5])

    assert len(statuses(conn)) == 5


def test_parallel_submissions_do_not_exceed_the_rate(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R7's kind: counted and added in one step."""
    monkeypatch.setenv("OPERATOR_RATE", "5")
    create_agent(conn)

    outcomes = at_once(database_url, *[one] * 10)

    assert outcomes.count(RateExceeded) == 5
    assert len(statuses(conn)) == 5


def _id(accepted: object) -> str:
    assert isinstance(accepted, Accepted)
    return accepted.command.command_id


@pytest.mark.parametrize("connected", [True, False])
def test_two_equal_requests_with_one_key_at_the_same_moment_are_one_command(
    conn: Connection, database_url: str, *, connected: bool
) -> None:
    """I10: whichever commits first; both get the same 202."""
    (connect_new_agent if connected else create_agent)(conn)

    for number in range(20):
        outcomes = at_once(database_url, *[partial(one, idempotency_key=f"k{number}")] * 2)
        assert len({_id(outcome) for outcome in outcomes}) == 1
        conn.execute("update agent_commands set status = 'completed', ack_deadline = null where status <> 'completed'")

    assert len(statuses(conn)) == 20


def test_two_different_requests_with_one_key_at_the_same_moment_are_one_command_and_a_refusal(
    conn: Connection, database_url: str
) -> None:
    """I10: also a list against a single command, and a list against a longer one."""
    create_agent(conn)
    works: list[Callable[[Connection], object]] = [
        lambda mine: one(mine, "n1", idempotency_key="k"),
        lambda mine: one(mine, "n2", idempotency_key="k"),
        lambda mine: many(mine, "n1", "n2", key="k"),
        lambda mine: many(mine, "n1", "n2", "n3", key="k"),
    ]

    outcomes = at_once(database_url, *works)

    assert outcomes.count(IdempotencyKeyReused) == 3
    assert stored(conn)[0] == stored(conn)[2] in {1, 2, 3}


def test_two_equal_lists_with_one_key_at_the_same_moment_are_one_list(conn: Connection, database_url: str) -> None:
    """I10: with the same ids, in the same order."""
    create_agent(conn)

    def submit(mine: Connection) -> list[str]:
        return many(mine, *map(str, range(50)), key="k")

    first, second = at_once(database_url, *[submit] * 2)

    assert first == second
    assert first == list(statuses(conn))


def test_the_key_of_a_list_gives_back_the_list(conn: Connection) -> None:
    """I10: in its order; whatever became of its commands."""
    create_agent(conn)
    first = many(conn, "n1", "n2", key="k")
    conn.execute("update agent_commands set status = 'completed' where action = 'n1'")

    again = submission.submit_list(conn, [new("n1"), new("n2")], "k", OPERATOR)

    assert [(entry.command_id, entry.status) for entry in again] == [(first[0], "completed"), (first[1], "pending")]
    assert stored(conn)[0] == 2


def test_a_key_works_when_the_queue_is_full_and_its_agent_deleted(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: the request was accepted, and the caller may ask again."""
    monkeypatch.setenv("QUEUE_LIMIT", "1")
    monkeypatch.setenv("OPERATOR_RATE", "1")
    create_agent(conn)
    first = one(conn, idempotency_key="k")
    conn.execute("update agents set deleted_at = now()")

    again = one(conn, idempotency_key="k")

    assert again.replayed
    assert _id(again) == _id(first)


def test_a_list_is_replayed_although_the_rate_is_exceeded_by_itself(
    conn: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10: the same request at the same moment waits for the first one's rate, and is then told what became of it."""
    monkeypatch.setenv("OPERATOR_RATE", "1")
    create_agent(conn)

    with ThreadPoolExecutor(1) as pool, open_connection(database_url) as mine, open_connection(database_url) as other:
        with mine.transaction():
            first = submission.submit_list(mine, [new()], "k", OPERATOR)
            again = pool.submit(submission.submit_list, other, [new()], "k", OPERATOR)
            while not waits_for_lock(conn, other):
                assert not again.done()
        assert again.result() == first


def test_a_redrive_of_a_command_with_a_far_limit_is_accepted(conn: Connection) -> None:
    """Somebody has inserted it with psql; a submission waits for a year at most."""
    create_agent(conn)
    put(conn, "k1", status="dead", deliver_by="2200-01-01")

    assert submission.redrive(conn, "k1", OPERATOR).command.deliver_by is not None


def test_the_rows_of_a_claim_do_not_repeat_the_command(conn: Connection) -> None:
    """A payload of 100 KB would come as often as commands are claimed."""
    connect_new_agent(conn, mode=DeliveryMode.BATCHING, window=10)
    for number in range(3):
        put(conn, f"k{number}")
    parameters = {"agent": "a1", "token": claims.new_token()}

    rows = conn.execute(
        call(
            "select (command).command_id is null, kind from {f}.submit(%(agent)s, 'noop', '{}', null, null, null, null, null,"
            " null, false, null, null, null, 'ann', 'ann', null, null, null, null, 100, 0, 100000, %(token)s)"
        ),
        parameters,
    ).fetchall()

    assert rows == [(False, None), *[(True, "command")] * 4]


def test_the_order_of_members_makes_no_other_request(conn: Connection) -> None:
    """I6 of the field notes: JSON objects have no order; a list has."""
    create_agent(conn, platform="edge")
    payloads = [
        json.loads(text) for text in ('{"a": {"b": 1, "c": [1, 2]}, "d": 2}', '{"d": 2, "a": {"c": [1, 2], "b": 1}}')
    ]

    first, again = (one(conn, payload=payload, idempotency_key="k") for payload in payloads)
    with pytest.raises(IdempotencyKeyReused):
        one(conn, payload={"a": {"b": 1, "c": [2, 1]}, "d": 2}, idempotency_key="k")

    assert _id(first) == _id(again)


@pytest.mark.parametrize(("ttl", "expected"), [(None, 60), (5, 5)])
def test_a_redriven_command_may_wait_as_long_as_the_old_one_or_as_long_as_is_given(
    conn: Connection, ttl: int | None, expected: int
) -> None:
    """I10 of the field notes: the new command had no TTL at all."""
    create_agent(conn)
    old = _id(one(conn, ttl_seconds=60))
    conn.execute(
        "update agent_commands set status = 'expired', created_at = created_at - interval '1 day',"
        " deliver_by = deliver_by - interval '1 day'"
    )

    again = submission.redrive(conn, old, OPERATOR, ttl_seconds=ttl).command

    assert again.deliver_by is not None
    assert (again.deliver_by - again.created_at).total_seconds() == expected


def test_a_redriven_command_without_a_ttl_has_none(conn: Connection) -> None:
    """As its old one."""
    create_agent(conn)
    put(conn, "k1", status="dead")

    assert submission.redrive(conn, "k1", OPERATOR).command.deliver_by is None


def test_a_redrive_with_a_key_is_one_command(conn: Connection) -> None:
    """I9 of the field notes: a redrive of another command with the key is refused."""
    create_agent(conn)
    for name in ("k1", "k2"):
        put(conn, name, status="dead")

    first, again = (submission.redrive(conn, "k1", OPERATOR, idempotency_key="k") for _ in range(2))
    with pytest.raises(IdempotencyKeyReused):
        submission.redrive(conn, "k2", OPERATOR, idempotency_key="k")

    assert _id(first) == _id(again)
    assert stored(conn)[0] == 3
