"""What the bill assumes of the functions, measured where AWS is not needed for it (docs/reference/figures.md)."""

from logging import INFO

import pytest

from dispatcher.platform.database import Connection
from dispatcher.platform.observability import logger
from local.tools import costs
from tests.fakes import FakeGateway
from tests.integration.functions.events import AGENT, COMMANDS, Run, ask, message_event
from tests.rows import connect

PAGE = 4096
"""Bytes that Aurora bills as one I/O."""


def written(conn: Connection) -> tuple[int, int]:
    """Return the position in the write-ahead log, in bytes, and the number of transactions that have written."""
    row = conn.execute(
        "select (pg_current_wal_insert_lsn() - '0/0')::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
    ).fetchone()
    assert row is not None
    return row


def test_a_command_writes_no_more_than_the_bill_assumes(run: Run, agent: str, conn: Connection) -> None:
    """Submitted, delivered, acknowledged, completed; each transaction writes at least one page."""
    connect(conn, agent, "c1")
    rounds = 20
    before = written(conn)
    for _ in range(rounds):
        command = ask(run, "commands", "POST", COMMANDS, {"action": "noop", "payload": {"n": 1}})[1]["commandId"]
        for kind in ("ack", "complete"):
            run("message", message_event("c1", {"type": kind, "payload": {"commandId": command}}))
    after = written(conn)

    log, transactions = ((new - old) / rounds for new, old in zip(after, before, strict=True))
    assert log / PAGE + transactions <= costs.IO_PER_COMMAND


@pytest.mark.usefixtures("agent")
def test_invocations_log_no_more_than_the_bill_assumes(
    run: Run, conn: Connection, caplog: pytest.LogCaptureFixture, gateway: FakeGateway
) -> None:
    """At the level of production the way of a command adds no line; what fails does."""
    connect(conn, AGENT, "c1")
    caplog.set_level(INFO, logger=logger.name)
    caplog.clear()

    command = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})[1]["commandId"]
    for kind in ("ack", "complete", "heartbeat"):
        run("message", message_event("c1", {"type": kind, "payload": {"commandId": command}}))

    formatter = logger.handlers[0].formatter
    assert formatter is not None
    lines = [formatter.format(record) for record in caplog.records if record.name == logger.name]
    assert gateway.command_ids == [command]
    assert sum(map(len, lines)) / 4 <= costs.LOG_BYTES
