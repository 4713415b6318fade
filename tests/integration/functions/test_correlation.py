"""One correlation id from the request of an operator to the agent that executes the command."""

import json
from collections.abc import Sequence
from logging import DEBUG
from typing import Any

import pytest

from dispatcher.commands import flush
from dispatcher.events.publisher import publish
from dispatcher.platform import correlation, lambda_api
from dispatcher.platform.database import Connection
from dispatcher.platform.event_bus import Entry
from dispatcher.platform.observability import logger
from dispatcher.protocol.handshake import DeliveryMode
from dispatcher.webhooks.invocation import Batch, invoke_webhook
from tests.fakes import FakeGateway, plenty
from tests.integration.functions.events import AGENT, COMMANDS, LIST, TRACE, Run, ask, message_event, request
from tests.integration.webhooks.deliveries import create_admin, deliver, tell
from tests.integration.webhooks.receivers import receiver
from tests.rows import connect

pytestmark = pytest.mark.usefixtures("agent")


class Taking:
    """An event bus that takes everything."""

    def __init__(self) -> None:
        self.taken: list[Entry] = []

    def put(self, entries: Sequence[Entry]) -> list[str | None]:
        """Take the entries."""
        self.taken += entries
        return [None] * len(entries)


def test_the_trace_of_a_request_reaches_the_agent_and_everything_that_was_written(
    run: Run, gateway: FakeGateway, conn: Connection
) -> None:
    """The answer, a problem, the command and the agent's message have the caller's trace id; each attempt is a step of it."""
    connect(conn, AGENT, mode=DeliveryMode.BATCHING, window=9)
    answered = run("commands", request("POST", COMMANDS, {"action": "noop"}))
    command = json.loads(answered["body"])
    refused = ask(run, "commands", "GET", "/api/v1/commands/none")[1]

    stored = conn.execute("select correlation_id from agent_commands").fetchall()

    told = ask(run, "events", "GET", "/api/v1/events?after=start&types=command.accepted")[1]["events"]

    assert [event["correlationId"] for event in told] == [TRACE]
    assert answered["headers"][correlation.HEADER] == TRACE
    assert command["correlationId"] == refused["correlationId"] == TRACE
    assert stored == [(TRACE,)]
    posted = [entry for message in gateway.messages for entry in message["commands"]]
    assert [entry["traceparent"][:36] for entry in posted] == [f"00-{TRACE}-"]


@pytest.mark.parametrize("mode", DeliveryMode)
def test_the_log_of_a_post_and_of_a_report_names_the_requests_that_submitted_the_commands(
    run: Run, conn: Connection, caplog: pytest.LogCaptureFixture, mode: DeliveryMode
) -> None:
    """One search for the caller's trace finds every function that handled the command, whoever invoked it."""
    caplog.set_level(DEBUG, logger=logger.name)
    connect(conn, AGENT, connection_id="c1", mode=mode, window=9)
    command = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})[1]["commandId"]
    said = {"type": "complete", "payload": {"commandId": command}}
    run("message", message_event("c1", said))
    run("message", message_event("c1", {"type": "ack", "payload": {"commandId": command}}))

    traces = {
        record.getMessage(): vars(record)["correlation_ids"]
        for record in caplog.records
        if "correlation_ids" in vars(record)
    }
    history = ask(run, "commands", "GET", f"/api/v1/commands/{command}/history")[1]["history"]

    assert traces == {
        "Delivered commands": [TRACE],
        "Commands reported": [TRACE],
        "Report moved nothing": [TRACE],
    }
    assert [entry["correlationId"] for entry in history] == [TRACE] * 3


def test_a_line_of_the_log_has_a_bounded_number_of_traces() -> None:
    """A message may report of thousands of commands."""
    traces = [None, *(f"{number % 300:032x}" for number in range(600))]

    assert correlation.of_commands(traces) == {"correlation_ids": traces[1:101]}


def test_whoever_is_told_of_an_event_gets_the_trace_of_its_command(run: Run, conn: Connection) -> None:
    """An event on the bus and the body of a webhook have the id that the request had; an agent's own event has none."""
    bus = Taking()
    create_admin(conn, "ada")
    with receiver() as to:
        tell(conn, to)
        publish(conn, bus, deadline=plenty)
        ask(run, "commands", "POST", COMMANDS, {"action": "noop"})
        connect(conn, AGENT)
        deliver(conn)
        publish(conn, bus, deadline=plenty)
        sent = [json.loads(each.body)["data"] for each in to.received]

    for events in (sent, [entry.detail for entry in bus.taken]):
        ids = {event["type"]: event.get("correlationId") for event in events}
        assert ids == {"command.accepted": TRACE, "agent.connected": None}


def test_agents_of_the_first_protocol_get_the_message_that_they_know(
    run: Run, gateway: FakeGateway, conn: Connection
) -> None:
    """StreamSpace's agents drop what they do not expect."""
    connect(conn, AGENT)
    ask(run, "commands", "POST", COMMANDS, {"action": "noop"})

    [message] = gateway.messages
    assert set(message["payload"]) == {"commandId", "action", "payload"}
    assert "traceparent" not in json.dumps(message)


def test_a_request_without_a_trace_begins_one(run: Run, conn: Connection) -> None:
    """So does one whose trace is no trace; a list is one trace."""
    event = request("POST", LIST, [{"agentId": AGENT, "action": "a"}, {"agentId": AGENT, "action": "b"}])
    for wrong in ("", "00-zz-zz-01", f"00-{'0' * 32}-00f067aa0ba902b7-01"):
        event["headers"]["traceparent"] = wrong
        assert run("commands", event)["statusCode"] == 202

    ids = [row[0] for row in conn.execute("select correlation_id from agent_commands order by seq").fetchall()]
    assert len(ids) == 6
    assert len(set(ids)) == 3
    assert all(len(each) == 32 and each != "0" * 32 for each in ids)


def test_the_sender_of_webhooks_goes_on_with_the_trace_of_who_invoked_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a failed test call is found under the id of the request that asked for it."""
    events: list[dict[str, Any]] = []
    monkeypatch.setenv("WEBHOOK_FUNCTION", "webhook")

    def answer(_function: str, payload: bytes, _seconds: float) -> dict[str, Any]:
        events.append(json.loads(payload))
        return {"outcomes": []}

    monkeypatch.setattr(lambda_api, "invoke_and_wait", answer)
    begun = correlation.resume("a" * 32)
    invoke_webhook(Batch(webhook_id="w1", url="https://example.com", messages=[]), seconds=1)
    correlation.resume("b" * 32)
    run("webhook", events[0])

    assert correlation.current() == begun


def test_flush_goes_on_with_the_trace_of_who_invoked_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log lines have the same id as those of the request."""
    events: list[dict[str, Any]] = []
    monkeypatch.setenv("FLUSH_FUNCTION", "flush")

    def accept(_function: str, payload: bytes) -> None:
        events.append(json.loads(payload))

    monkeypatch.setattr(lambda_api, "invoke_event", accept)
    begun = correlation.resume("a" * 32)
    flush.invoke_flush(flush.FlushRequest(agent_id=AGENT, connection_id="c1", epoch=1))
    correlation.resume("b" * 32)
    run("flush", events[0])

    assert events[0]["correlationId"] == begun
    assert correlation.current() == begun
    run("flush", {key: value for key, value in events[0].items() if key != "correlationId"})
    assert correlation.current() not in {None, begun}
