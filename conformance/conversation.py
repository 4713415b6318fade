"""The longest scenario: one connection with commands, and with odd messages between them."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from conformance.checks import BY_NAME, MESSAGE_BYTES
from conformance.harness import UNKNOWN_ACTION, Harness, ScenarioAborted
from conformance.message_codec import Command, encode, encode_cancel, excerpt

LARGEST_WINDOW = 100
UNKNOWN_TYPES = (
    '{"type": "future_type", "payload": {"commandId": "none"}}',
    '{"type": "welcome"}',
    # API Gateway's own message after a failure of the service.
    json.dumps({"message": "Internal server error", "connectionId": "abc=", "requestId": "def"}),
    "{}",
)
# For both protocols, then for each.
MEANINGLESS = (
    (
        "this is not JSON",
        '{"type": "command", "payload": {"commandId": ',
        "",
        "[]",
        "null",
        "17",
        '"a"',
        '{"type": 17}',
    ),
    ('{"type": "command"}', '{"type": "command", "payload": null}', '{"type": "command", "payload": []}'),
    ('{"type": "commands", "commands": null}', '{"type": "commands", "commands": [null, 17]}', '{"type": "cancel"}'),
)


async def converse(harness: Harness) -> None:
    """Connect the agent, then play each step; after a failed step the agent is started again."""
    await _connect(harness)
    await _first_command(harness)
    for name, step in _STEPS.items():
        if harness.connection.closed or harness.agent.exit_code is not None:
            await harness.start_and_connect()
        if BY_NAME[name].protocol not in {None, harness.connection.protocol}:
            harness.findings.skipped(name, "only in protocol 2")
            continue
        problem = await step(harness)
        harness.findings.judge(name, problem)
        if problem is not None:
            # So that the next step does not fail for the same reason.
            await harness.start_and_connect()
    await harness.wait_for_late_acks()
    ended = await harness.agent.terminate(harness.limits.answer)
    harness.findings.expect("sigterm", ended, f"it still runs {harness.limits.answer:.0f} s after SIGTERM")


async def _connect(harness: Harness) -> None:
    findings = harness.findings
    connection = await harness.start_and_connect(check="connects")
    agent_id = connection.query.get("agent_id")
    findings.expect("connect-agent-id", agent_id == harness.agent_id, f"agent_id={agent_id}")
    key = connection.headers.get("X-Agent-Api-Key")
    findings.expect("connect-key", key == harness.key, f"X-Agent-Api-Key: {key}")
    requested = connection.query.get("protocol", "1")
    expected = {"1", "2"} if harness.options.protocol is None else {str(harness.options.protocol)}
    wrong = f"it requests protocol {requested} instead of {' or '.join(sorted(expected))}"
    findings.expect("protocol", requested in expected, wrong, f"protocol {requested}")
    if connection.protocol == 1:
        for name in ("window", "attempt", "resume"):
            findings.skipped(name, "only in protocol 2")
    else:
        window = connection.query.get("window", "32")
        valid = window.isascii() and window.isdigit() and 1 <= int(window) <= LARGEST_WINDOW
        findings.expect("window", valid, f"window={window}")


async def _first_command(harness: Harness) -> None:
    """Send a command that every agent can answer; raises ScenarioAborted if no answer comes."""
    findings, limits, connection = harness.findings, harness.limits, harness.connection
    connection.send_ping(b"conformance")
    command = harness.unknown_command(attempt=3)
    problem = await harness.execute(command)
    if connection.closed and not connection.messages:
        headers = connection.headers
        requested = headers.get("Sec-WebSocket-Protocol") or headers.get("Sec-WebSocket-Extensions") or "neither"
        findings.failed("plain-websocket", f"{problem}; its handshake requested: {requested}")
        raise ScenarioAborted("the agent does not stay connected")
    findings.passed("plain-websocket")
    if problem is not None:
        _judge_missing_end(harness, command, problem)
        raise ScenarioAborted("the agent does not answer a command")
    findings.passed("outcomes")
    end = harness.end_of(command)
    assert end is not None  # noqa: S101 - there was no problem
    findings.expect("unknown-action", end.kind == "failed", f"the command ended as {end.kind}")
    if end.kind == "failed":
        right = end.body == f"unknown action: {UNKNOWN_ACTION}"
        findings.expect("unknown-action-words", right, f"error: {end.body!r:.200}")
    answered = await harness.until(lambda: b"conformance" in connection.pongs, limits.answer)
    findings.expect("websocket-ping", answered, f"no pong within {limits.answer:.0f} s")


def _judge_missing_end(harness: Harness, command: Command, problem: str) -> None:
    """Choose the check that failed when a command did not end."""
    reports = harness.reports()
    malformed = any(message.decoded.problem for message in harness.messages())
    if malformed or any(report.command_id != command.command_id for report in reports):
        return  # the review of all messages reports it
    harness.findings.failed("outcomes" if reports or not harness.acks_expected else "acks", problem)


async def _ping_message(harness: Harness) -> str | None:
    harness.connection.send('{"type": "ping"}')
    answered = await harness.until(
        lambda: any(message.decoded.type == "pong" for message in harness.messages()), harness.limits.answer
    )
    return None if answered else f"no pong message within {harness.limits.answer:.0f} s"


async def _order(harness: Harness) -> str | None:
    """Send three commands, each after the ack or the end of the one before, as protocol 1 does."""
    commands = [harness.unknown_command() for _ in range(3)]
    began = time.monotonic()
    for command in commands:
        harness.send(command)
        await harness.wait_for_answer(command)
    problem = await harness.wait_for_ends(*commands)
    sent = [command.command_id for command in commands]
    ended = [report.command_id for report in harness.reports(began) if report.is_end and report.command_id in sent]
    wrong = None if list(dict.fromkeys(ended)) == sent else f"they ended in the order {', '.join(map(str, ended))}"
    return problem or wrong


async def _survives(harness: Harness, *texts: str) -> str | None:
    """Send each message with a command after it, to find out which message breaks the agent."""
    for text in texts:
        harness.connection.send(text)
        problem = await harness.execute(harness.unknown_command())
        if problem is not None:
            return f"after the message {excerpt(text) or '(empty)'}: {problem}"
    return None


async def _unknown_fields(harness: Harness) -> str | None:
    command = harness.unknown_command()
    harness.connection.send(*harness.record(command, unknown_fields=True))
    return await harness.wait_for_ends(command)


async def _fragments(harness: Harness) -> str | None:
    command = harness.unknown_command(text="é" * 300)
    harness.connection.send_fragments(harness.record(command)[0], 3)
    return await harness.wait_for_ends(command)


async def _large_command(harness: Harness) -> str | None:
    command = harness.unknown_command(fill="")
    room = MESSAGE_BYTES - len(encode(harness.connection.protocol, [command])[0])
    return await harness.execute(replace(command, payload={"fill": "x" * room}))


async def _batch(harness: Harness) -> str | None:
    commands = [harness.unknown_command(attempt=number) for number in (1, 2, 7)]
    harness.send(*commands)
    return await harness.wait_for_ends(*commands)


async def _cancel(harness: Harness) -> str | None:
    commands = [harness.unknown_command(), harness.unknown_command()]
    messages = [message for command in commands for message in harness.record(command)]
    harness.connection.send(*messages, *map(encode_cancel, commands))
    return await harness.wait_for_ends(*commands)


async def _too_late(harness: Harness) -> str | None:
    command = replace(
        (harness.known_commands() or [harness.unknown_command()])[0], deliver_by="2020-01-01T00:00:00.000Z"
    )
    problem = await harness.execute(command, seconds=harness.limits.execution)
    end = harness.end_of(command)
    return problem or (None if end is not None and end.kind == "failed" else "it was executed")


# By the name of its check: each step returns None if the agent behaved, else what it did instead.
_STEPS: dict[str, Callable[[Harness], Awaitable[str | None]]] = {
    "outcomes": lambda harness: harness.execute(*harness.known_commands(), seconds=harness.limits.execution),
    "ping-message": _ping_message,
    "order": _order,
    "unknown-fields": _unknown_fields,
    "unknown-types": lambda harness: _survives(harness, *UNKNOWN_TYPES),
    "survives-garbage": lambda harness: _survives(harness, *MEANINGLESS[0], *MEANINGLESS[harness.connection.protocol]),
    "fragments": _fragments,
    "large-command": _large_command,
    "batch": _batch,
    "cancel-unknown": lambda harness: _survives(harness, encode_cancel(harness.unknown_command())),
    "cancel": _cancel,
    "too-late": _too_late,
}
