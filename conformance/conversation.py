"""The longest scene: one connection, commands and all that may come between them."""

import json
from collections.abc import Awaitable, Callable

from conformance.checks import MESSAGE_BYTES
from conformance.codec import Command, cancel, excerpt
from conformance.harness import (
    ANSWER_SECONDS,
    EXECUTION_SECONDS,
    UNKNOWN_ACTION,
    CurtainError,
    Options,
    Stage,
)
from conformance.link import Link

Step = Callable[[Stage, Link], Awaitable[str | None]]
PONG_SECONDS = 3.0
WINDOW_MOST = 100
SECOND = 2

UNKNOWN_TYPES = (
    json.dumps({"type": "novelty", "payload": {"commandId": "none"}}),
    '{"type": "welcome"}',
    # What API Gateway itself says when a function of the service failed.
    json.dumps({"message": "Internal server error", "connectionId": "abc=", "requestId": "def"}),
    "{}",
)
GARBAGE = (
    "this is not JSON",
    '{"type": "command", "payload": {"commandId": ',
    "",
    "[]",
    "null",
    "17",
    '"text"',
    '{"type": 17}',
)
WRONG_COMMANDS = {
    1: ('{"type": "command"}', '{"type": "command", "payload": null}', '{"type": "command", "payload": []}'),
    SECOND: (
        '{"type": "commands", "commands": null}',
        '{"type": "commands", "commands": [null, 17]}',
        '{"type": "cancel"}',
    ),
}


async def play(stage: Stage) -> None:
    """Play the scene."""
    await stage.agent.start()
    link = await _come_in(stage)
    await _basics(stage, link)
    for name, step in _STEPS.items():
        if link.closed or stage.agent.exit_code is not None:
            link = await stage.restarted()
        protocol = link.protocol
        if name in _SECOND_ONLY and protocol != SECOND:
            stage.findings.skipped(name, "of the second protocol")
            continue
        seen = await step(stage, link)
        stage.findings.judge(name, seen)
        if seen is not None:
            # What went wrong here shall not be held against the agent a second time.
            link = await stage.restarted()
    await stage.settle()
    stage.findings.judge("sigterm", None if await stage.agent.terminate(5) else "it still runs after 5 s")


async def _come_in(stage: Stage) -> Link:
    findings = stage.findings
    try:
        link = await stage.connected()
    except CurtainError as error:
        findings.failed("connects", str(error))
        raise
    findings.passed("connects")
    named = link.query.get("agent_id")
    findings.judge("connect-agent-id", None if named == stage.agent_id else f"agent_id={named}")
    key = link.headers.get("X-Agent-Api-Key")
    findings.judge("connect-key", None if key == stage.key else f"X-Agent-Api-Key: {key}")
    findings.judge("protocol", _wrong_protocol(stage.options, link), f"protocol {link.protocol}")
    if link.protocol == SECOND:
        findings.judge("window", _wrong_window(link.query.get("window")))
    else:
        for name in ("window", "attempt"):
            findings.skipped(name, "of the second protocol")
    return link


def _wrong_protocol(options: Options, link: Link) -> str | None:
    asked = link.query.get("protocol")
    if asked not in {None, "1", "2"}:
        return f"protocol={asked}"
    wanted = options.protocol or link.protocol
    return None if link.protocol == wanted else f"it asks for protocol {link.protocol}, not for {wanted}"


def _wrong_window(window: str | None) -> str | None:
    right = window is None or (window.isascii() and window.isdigit() and 1 <= int(window) <= WINDOW_MOST)
    return None if right else f"window={window}"


async def _basics(stage: Stage, link: Link) -> None:
    """Send the one command that every agent has to handle; without an answer there is nothing more to see."""
    findings = stage.findings
    link.ping(b"conformance")
    command = stage.unknown(attempt=3)
    link.send(*stage.deliver(link, command))
    seen = await stage.ended(link, command, ANSWER_SECONDS)
    if link.closed and not link.messages:
        asked = link.headers.get("Sec-WebSocket-Protocol") or link.headers.get("Sec-WebSocket-Extensions")
        findings.failed("plain-websocket", f"{seen}; it had asked for {asked or 'neither'}")
        raise CurtainError("the agent does not stay connected")
    findings.passed("plain-websocket")
    if seen is not None:
        _judge_silence(stage, command, seen)
        raise CurtainError("the agent does not answer to a command")
    findings.passed("outcomes")
    end = stage.end_of(command)
    if end is not None:
        findings.judge("unknown-action", None if end.kind == "failed" else f"it ended as {end.kind}")
        if end.kind == "failed":
            right = end.body == f"unknown action: {UNKNOWN_ACTION}"
            findings.judge("unknown-action-words", None if right else f"error: {end.body!r:.200}")
    ponged = await stage.until(lambda: b"conformance" in link.pongs, PONG_SECONDS)
    findings.judge("websocket-ping", None if ponged else f"no pong within {PONG_SECONDS:.0f} s")


def _judge_silence(stage: Stage, command: Command, seen: str) -> None:
    """Say what is wrong where a command did not end: an answer about another one, no ack, or no outcome."""
    reports = [report for _, report in stage.reports()]
    if any(report.command_id not in stage.sent for report in reports):
        return  # the review tells which
    if any(message.said.fault for link in stage.server.links for message in link.messages):
        return  # likewise
    acked = stage.silent or any(report.command_id == command.command_id for report in reports)
    stage.findings.failed("outcomes" if acked else "acks", seen)


async def _actions(stage: Stage, link: Link) -> str | None:
    return await stage.executed(link, stage.known(), EXECUTION_SECONDS)


async def _ping_message(stage: Stage, link: Link) -> str | None:
    link.send('{"type": "ping"}')
    pongs = lambda: any(message.said.type == "pong" for message in link.messages)  # noqa: E731 - three words
    return None if await stage.until(pongs, PONG_SECONDS) else f"no pong within {PONG_SECONDS:.0f} s"


async def _acked_or_ended(stage: Stage, link: Link, command: Command) -> None:
    await stage.until(lambda: stage.acked(command) or stage.end_of(command) or link.closed, ANSWER_SECONDS)


async def _order(stage: Stage, link: Link) -> str | None:
    """Send three, each when the one before is acknowledged or has ended."""
    commands = [stage.unknown() for _ in range(3)]
    began = stage.now()
    for command in commands:
        link.send(*stage.deliver(link, command))
        await _acked_or_ended(stage, link, command)
    for command in commands:
        seen = await stage.ended(link, command, ANSWER_SECONDS)
        if seen is not None:
            return seen
    sent = [command.command_id for command in commands]
    ended = [report.command_id for _, report in stage.reports(began) if report.end and report.command_id in sent]
    return None if list(dict.fromkeys(ended)) == sent else f"they ended in the order {', '.join(map(str, ended))}"


async def _after_each(stage: Stage, link: Link, *texts: str) -> str | None:
    """Send messages that must do no harm, with a command behind each: what breaks the agent shall have a name."""
    for text in texts:
        link.send(text)
        seen = await stage.executed(link, [stage.unknown()])
        if seen is not None:
            return f"after the message {excerpt(text) or '(an empty one)'}: {seen}"
    return None


async def _unknown_fields(stage: Stage, link: Link) -> str | None:
    command = stage.unknown()
    link.send(*stage.deliver(link, command, novel=True))
    return await stage.ended(link, command, ANSWER_SECONDS)


async def _unknown_types(stage: Stage, link: Link) -> str | None:
    return await _after_each(stage, link, *UNKNOWN_TYPES)


async def _garbage(stage: Stage, link: Link) -> str | None:
    return await _after_each(stage, link, *GARBAGE, *WRONG_COMMANDS[link.protocol])


async def _fragments(stage: Stage, link: Link) -> str | None:
    command = stage.unknown(text="é" * 300)
    link.send_fragments(stage.deliver(link, command)[0], 3)
    return await stage.ended(link, command, ANSWER_SECONDS)


async def _large(stage: Stage, link: Link) -> str | None:
    command = stage.unknown(fill="")
    room = MESSAGE_BYTES - len(stage.deliver(link, command)[0])
    filled = Command(
        command_id=command.command_id, action=command.action, payload={**command.payload, "fill": "x" * room}
    )
    link.send(*stage.deliver(link, filled))
    return await stage.ended(link, command, ANSWER_SECONDS)


async def _batch(stage: Stage, link: Link) -> str | None:
    commands = [stage.unknown(attempt=number) for number in (1, 2, 7)]
    link.send(*stage.deliver(link, *commands))
    for command in commands:
        seen = await stage.ended(link, command, ANSWER_SECONDS)
        if seen is not None:
            return seen
    return None


async def _cancel(stage: Stage, link: Link) -> str | None:
    commands = [stage.unknown(), stage.unknown()]
    texts = [text for command in commands for text in stage.deliver(link, command)]
    link.send(*texts, *(cancel(command) for command in commands))
    for command in commands:
        seen = await stage.ended(link, command, ANSWER_SECONDS)
        if seen is not None:
            return seen
    return None


async def _cancel_unknown(stage: Stage, link: Link) -> str | None:
    return await _after_each(stage, link, cancel(stage.unknown()))


_STEPS: dict[str, Step] = {
    "outcomes": _actions,
    "ping-message": _ping_message,
    "order": _order,
    "unknown-fields": _unknown_fields,
    "unknown-types": _unknown_types,
    "survives-garbage": _garbage,
    "fragments": _fragments,
    "large-command": _large,
    "batch": _batch,
    "cancel-unknown": _cancel_unknown,
    "cancel": _cancel,
}
_SECOND_ONLY = {"batch", "cancel-unknown", "cancel"}
