"""All scenarios: registration, refusals, the conversation, reconnection and keep-alive."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from http import HTTPStatus
from itertools import pairwise
from typing import Any, cast

from conformance.conversation import converse
from conformance.harness import NO_ACKS_EXPECTED, Harness, ScenarioAborted
from conformance.message_codec import Report, excerpt
from conformance.simulated_service import Call

MOST_CALLS = 6
"""With pauses up to 1, 2, 4 … s and full jitter, an agent makes more calls in the window in 3 of 100,000 runs."""
OUTAGE_CALLS = 3
TOLERANCE = 0.1


async def registration(harness: Harness) -> None:
    """Let the agent wait for its approval, then approve it."""
    findings, service, limits = harness.findings, harness.service, harness.limits
    service.registration = service.pending
    await harness.agent.start()
    registered = await harness.until(lambda: service.called("register"), limits.start)
    others = ", ".join(call.what for call in service.calls if call.what != "connect")
    instead = f"within {limits.start:.0f} s it sent {others or 'no request'}"
    ended = harness.agent.exit_code is not None
    findings.expect("registers", registered, harness.why_absent() if ended else instead)
    if not registered:
        raise ScenarioAborted("the agent does not register")
    _judge_registration(harness, service.called("register")[0])
    await harness.until(lambda: service.called("connect"), limits.window)
    if harness.agent.exit_code is not None:
        findings.failed("pending-asks-again", harness.why_absent())
        raise ScenarioAborted("the agent gave up")
    findings.expect("pending-stays-out", not service.called("connect"), "the agent connects without approval")
    findings.judge("pending-patient", _too_many(service.called("register"), limits.window))
    if not harness.options.slow and len(service.called("register")) == 1:
        for name in ("pending-asks-again", "approved-connects"):
            findings.skipped(name, "takes 30 s: add --slow")
        return
    asked = await harness.until(lambda: len(service.called("register")) > 1, limits.approval)
    findings.expect("pending-asks-again", asked, f"no second registration within {limits.approval:.0f} s")
    if asked:
        service.registration = service.approved
        seconds = limits.approval if harness.options.slow else limits.answer
        connected = await harness.until(lambda: service.called("connect"), seconds)
        findings.expect("approved-connects", connected, harness.why_absent())


def _judge_registration(harness: Harness, call: Call) -> None:
    key, content_type = call.headers.get("x-agent-api-key"), call.headers.get("content-type", "")
    harness.findings.expect("register-key", key == harness.key, f"X-Agent-Api-Key: {key}")
    is_json = content_type.partition(";")[0].strip().lower() == "application/json"
    harness.findings.expect("register-content-type", is_json, f"Content-Type: {content_type or 'none'}")
    harness.findings.judge("register-body", _wrong_registration(call.body, harness.agent_id))


def _wrong_registration(body: bytes, agent_id: str) -> str | None:
    try:
        value: Any = json.loads(body)
    except ValueError as error:
        return f"the body is not JSON: {error}"
    if not isinstance(value, dict):
        return "the body is not an object"
    fields = cast("dict[str, Any]", value)
    if fields.get("agentId") != agent_id:
        return f"agentId is {fields.get('agentId')!r} instead of {agent_id!r}"
    if not isinstance(fields.get("platform"), str) or not fields["platform"]:
        return f"platform is {fields.get('platform')!r}"
    return _wrong_field(
        fields, {"region": str | None, "capacity": dict | None, "metadata": dict | None, "facts": dict | None}
    )


def _wrong_field(fields: dict[str, Any], types: dict[str, Any]) -> str | None:
    wrong = [name for name, expected in types.items() if not isinstance(fields.get(name), expected)]
    return f"{wrong[0]} is {fields.get(wrong[0])!r}" if wrong else None


async def refusal(harness: Harness) -> None:
    """Refuse the agent's key at the registration."""
    harness.service.registration = (401, {"title": "Unknown key", "status": 401})
    harness.service.handshake_status = HTTPStatus.FORBIDDEN
    calls = await _calls_when_refused(harness, "register")
    connects = len(harness.service.called("connect"))
    harness.findings.expect("refused-stays-out", not connects, f"{connects} handshakes after a 401")
    harness.findings.judge("refused-patient", _too_many(calls, harness.limits.window))


async def forbidden(harness: Harness) -> None:
    """Accept the registration and refuse the handshake."""
    harness.service.handshake_status = HTTPStatus.FORBIDDEN
    calls = await _calls_when_refused(harness, "connect")
    harness.findings.judge("forbidden-patient", _too_many(calls, harness.limits.window))


async def _calls_when_refused(harness: Harness, what: str) -> list[Call]:
    await harness.agent.start()
    if not await harness.until(lambda: harness.service.called(what), harness.limits.start):
        raise ScenarioAborted(harness.why_absent())
    await harness.until(lambda: len(harness.service.called(what)) > MOST_CALLS, harness.limits.window)
    return harness.service.called(what)


def _too_many(calls: Sequence[Call], window: float) -> str | None:
    # By the times of the calls: on a busy machine the kit may look later than at the end of the window.
    count = len([call for call in calls if call.at - calls[0].at < window])
    return f"{count} attempts within {window:.0f} s" if count > MOST_CALLS else None


async def reconnection(harness: Harness) -> None:
    """Close the connection right after a command, and deliver a command again that has ended before."""
    findings, limits = harness.findings, harness.limits
    connection = await harness.start_and_connect()
    first, *others = harness.known_commands() or [harness.unknown_command()]
    problem = await harness.execute(first, seconds=limits.execution)
    if problem is not None:
        raise ScenarioAborted(problem)
    interrupted = harness.unknown_command()
    closed_at = time.monotonic()
    connection.send(*harness.record(interrupted, ack_may_be_lost=True), close=1001)
    await harness.connected("returns-after-close", after=1, seconds=limits.reconnect)
    await harness.until(lambda: harness.end_of(interrupted, closed_at), limits.resend)
    _judge_kept_report(harness, harness.end_of(interrupted, closed_at))
    again = replace(first, attempt=2)
    delivered_at = time.monotonic()
    before = harness.end_of(first)
    harness.send(again)
    problem = await harness.wait_for_ends(again, seconds=limits.execution, since=delivered_at)
    after = harness.end_of(again, delivered_at)
    answered = True
    if harness.acks_expected:
        # An agent that has executed the command may report its end at once.
        answered = harness.acknowledged(again, delivered_at) or after is not None
        findings.expect("redelivery-acked", answered, "neither an ack nor an end for the second attempt")
    else:
        findings.skipped("redelivery-acked", NO_ACKS_EXPECTED)
    if answered:
        unknown = before is not None and "unknown" in str(before.body)
        note = "tested with an action that the agent does not know; name one with --action" if unknown else ""
        findings.judge("redelivery-same-end", problem or _difference(before, after), note)
    else:
        findings.skipped("redelivery-same-end", "the second attempt was not answered")
    await harness.execute(*others, seconds=limits.execution)
    await _unconfirmed(harness)


async def _unconfirmed(harness: Harness) -> None:
    """Let a report arrive, and cut the connection before it is confirmed."""
    findings, connection = harness.findings, harness.connection
    if connection.protocol == 1:
        return findings.skipped("unconfirmed-again", "only in protocol 2")
    connection.confirms = False
    command = harness.unknown_command()
    problem = await harness.execute(command)
    if problem is not None:
        raise ScenarioAborted(problem)
    named = any(message.decoded.message_id for message in connection.messages)
    if not named:
        return findings.skipped("unconfirmed-again", "the agent gives its reports no id")
    cut_at = time.monotonic()
    connection.abort()
    await harness.connected(None, after=len(harness.service.connections), seconds=harness.limits.reconnect)
    again = await harness.until(lambda: harness.end_of(command, cut_at), harness.limits.resend)
    return findings.expect("unconfirmed-again", again, "the report that was not confirmed did not come again")


def _judge_kept_report(harness: Harness, end: Report | None) -> None:
    resent = any(report == end for message in harness.connection.messages for report in message.decoded.reports)
    if end is not None and not resent:
        why = "not tested: the report came over the old connection, before the close"
        harness.findings.skipped("keeps-outcomes", why)
    else:
        missing = f"within {harness.limits.resend:.0f} s no report about the command that was sent before the close"
        harness.findings.expect("keeps-outcomes", resent, missing)


def _difference(before: Report | None, after: Report | None) -> str | None:
    if before is None or after is None or (before.kind, before.body) == (after.kind, after.body):
        return None
    return f"first {_describe(before)}, then {_describe(after)}"


def _describe(report: Report) -> str:
    return f"{report.kind} {excerpt(json.dumps(report.body))}"


async def connection_loss(harness: Harness) -> None:
    """Cut the connection, let some attempts fail, and accept the agent again."""
    findings, service = harness.findings, harness.service
    connection = await harness.start_and_connect()
    await asyncio.sleep(0.3)  # so that the connection was open for a while
    service.outage = True
    cut_at = time.monotonic()
    connection.abort()
    await harness.until(lambda: len(_attempts(harness, cut_at)) >= OUTAGE_CALLS, harness.limits.outage)
    service.outage = False
    restored_at = time.monotonic()
    connection = await harness.connected("returns-after-loss", after=1, seconds=harness.limits.reconnect)
    findings.judge("returns-after-loss", await harness.execute(harness.unknown_command()))
    registered = any(call.at <= connection.opened_at for call in service.called("register", restored_at))
    findings.expect("registers-again", registered, "a handshake without a registration before it")
    times = [cut_at, *(call.at for call in _attempts(harness, cut_at))]
    pauses = [later - earlier for earlier, later in pairwise(times)][: OUTAGE_CALLS + 1]
    shown = f"attempts after {_seconds(pauses)}"
    quick = len(pauses) > OUTAGE_CALLS and sum(pauses) < harness.limits.shortest_pauses
    findings.judge("backs-off", shown if quick else None, shown)
    if quick or len(pauses) < OUTAGE_CALLS:
        findings.skipped("jitter", f"too few pauses to judge: {shown}")
    else:
        findings.judge("jitter", regularity(pauses))


def _attempts(harness: Harness, since: float) -> list[Call]:
    """Return the calls that begin an attempt: registrations, and handshakes without one before them."""
    calls = [call for call in harness.service.calls if call.at >= since and call.what in {"register", "connect"}]
    return [
        call
        for before, call in zip([None, *calls], calls, strict=False)
        if call.what == "register" or before is None or before.what == "connect"
    ]


def regularity(pauses: Sequence[float]) -> str | None:
    """Say what regular pattern the pauses follow; None for pauses that look drawn at random."""
    if max(pauses) <= min(pauses) * (1 + TOLERANCE) + 0.02:
        return f"all pauses are alike: {_seconds(pauses)}"
    ratios = [later / max(earlier, 0.001) for earlier, later in pairwise(pauses)]
    if all(abs(ratio - 2) < 2 * TOLERANCE for ratio in ratios):
        return f"each pause is twice the one before, without jitter: {_seconds(pauses)}"
    return None


def _seconds(pauses: Sequence[float]) -> str:
    return f"{', '.join(f'{pause:.2f}' for pause in pauses)} s"


async def keep_alive(harness: Harness) -> None:
    """Send nothing, and wait for a heartbeat and a WebSocket ping."""
    findings, limits = harness.findings, harness.limits
    if not harness.options.slow:
        for name in ("heartbeat", "keep-alive-ping"):
            findings.skipped(name, "takes up to 65 s: add --slow")
        return
    connection = await harness.start_and_connect()

    def heartbeats() -> list[Any]:
        return [message.decoded.fields for message in connection.messages if message.decoded.type == "heartbeat"]

    came = await harness.until(heartbeats, limits.heartbeat)
    types = {"status": str, "activeSessions": int, "capacity": dict}
    none = f"no heartbeat within {limits.heartbeat:.0f} s"
    findings.judge("heartbeat", _wrong_field(heartbeats()[0], types) if came else none)
    pinged = await harness.until(lambda: connection.pings, connection.opened_at + limits.ping - time.monotonic())
    findings.expect("keep-alive-ping", pinged, f"no WebSocket ping within {limits.ping:.0f} s")


SCENARIOS: dict[str, tuple[str, Callable[[Harness], Coroutine[Any, Any, None]]]] = {
    "registration": ("Registration, and waiting for approval", registration),
    "refusal": ("The service refuses the registration", refusal),
    "forbidden": ("The service refuses the handshake", forbidden),
    "conversation": ("Connected: commands, reports and odd messages", converse),
    "reconnection": ("The service closes the connection, then delivers a command again", reconnection),
    "connection-loss": ("The connection is lost, and attempts to reconnect fail", connection_loss),
    "keep-alive": ("Heartbeats and WebSocket pings", keep_alive),
}
