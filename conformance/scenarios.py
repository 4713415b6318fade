"""The scenes around the connection: coming in, being refused, coming back, staying."""

import json
from collections.abc import Callable, Coroutine, Sequence
from itertools import pairwise
from typing import Any, cast

from conformance import conversation
from conformance.codec import Report
from conformance.harness import ANSWER_SECONDS, EXECUTION_SECONDS, RETURN_SECONDS, CurtainError, Stage
from conformance.link import Link
from conformance.server import Call

WINDOW_SECONDS = 3.0
MOST_CALLS = 6
"""With pauses up to 1, 2, 4 … s, full jitter makes more calls in the window in 3 of 100,000 runs."""
OUTAGE_SECONDS, OUTAGE_CALLS = 7.0, 3
QUICK_SECONDS = 0.5
"""Four full-jitter pauses are shorter together in 4 of 100,000 runs."""
ALIKE = 0.1
HEARTBEAT_SECONDS, PING_SECONDS, PENDING_SECONDS = 35.0, 65.0, 45.0
PLATFORM_FIELDS = {"region": str, "capacity": dict, "metadata": dict}


async def registration(stage: Stage) -> None:
    """Let the agent wait for its approval."""
    findings, server = stage.findings, stage.server
    server.registration = server.pending
    await stage.agent.start()
    if not await stage.until(lambda: server.called("register"), stage.options.patience):
        other = [call.what for call in server.calls if call.what != "connect"]
        heard = f"only {', '.join(other[:3])}" if other else "no request at all"
        ended = stage.agent.exit_code is not None
        findings.failed("registers", stage.absence() if ended else f"within {stage.options.patience:.0f} s {heard}")
        raise CurtainError("the agent does not register")
    findings.passed("registers")
    _judge_registration(stage, server.called("register")[0])
    await stage.until(lambda: server.called("connect"), WINDOW_SECONDS)
    calls = len(server.called("register"))
    if stage.agent.exit_code is not None:
        findings.failed("pending-asks-again", stage.absence())
        raise CurtainError("the agent gave up")
    came = bool(server.called("connect"))
    findings.judge("pending-stays-out", "the agent connects all the same" if came else None)
    findings.judge("pending-patient", _hammering(server.called("register")))
    if calls == 1 and stage.options.slow:
        await stage.until(lambda: len(server.called("register")) > 1, PENDING_SECONDS)
        calls = len(server.called("register"))
    elif calls == 1:
        for name in ("pending-asks-again", "approved-connects"):
            findings.skipped(name, "takes 30 s: with --slow")
        return
    findings.judge(
        "pending-asks-again", f"no second registration within {PENDING_SECONDS:.0f} s" if calls == 1 else None
    )
    if calls > 1:
        server.registration = server.approved
        # The answer to the next question lets it in.
        connected = await stage.until(
            lambda: server.called("connect"), PENDING_SECONDS if stage.options.slow else ANSWER_SECONDS
        )
        findings.judge("approved-connects", None if connected else stage.absence())


def _judge_registration(stage: Stage, call: Call) -> None:
    key, content_type = call.headers.get("x-agent-api-key"), call.headers.get("content-type", "")
    stage.findings.judge("register-key", None if key == stage.key else f"X-Agent-Api-Key: {key}")
    right = content_type.partition(";")[0].strip().lower() == "application/json"
    stage.findings.judge("register-content-type", None if right else f"Content-Type: {content_type or 'none'}")
    stage.findings.judge("register-body", _wrong_body(call.body, stage.agent_id))


def _wrong_body(body: bytes, agent_id: str) -> str | None:
    try:
        value: Any = json.loads(body)
    except ValueError as error:
        return f"the body is not JSON: {error}"
    if not isinstance(value, dict):
        return "the body is no object"
    fields = cast("dict[str, Any]", value)
    if fields.get("agentId") != agent_id:
        return f"agentId is {fields.get('agentId')!r} instead of {agent_id!r}"
    platform = fields.get("platform")
    if not isinstance(platform, str) or not platform:
        return f"platform is {platform!r}"
    wrong = [name for name, kind in PLATFORM_FIELDS.items() if not isinstance(fields.get(name), kind | None)]
    return f"{wrong[0]} is {fields[wrong[0]]!r}" if wrong else None


async def refusal(stage: Stage) -> None:
    """Refuse the agent's key."""
    stage.server.registration = (401, {"title": "Unknown key", "status": 401})
    stage.server.handshake_status = 403
    calls = await _calls_when_refused(stage, "register")
    connects = len(stage.server.called("connect"))
    stage.findings.judge("refused-stays-out", f"{connects} handshakes after a 401" if connects else None)
    stage.findings.judge("refused-patient", _hammering(calls))


async def forbidden(stage: Stage) -> None:
    """Let the agent register, and refuse its handshake."""
    stage.server.handshake_status = 403
    stage.findings.judge("forbidden-patient", _hammering(await _calls_when_refused(stage, "connect")))


async def _calls_when_refused(stage: Stage, what: str) -> list[Call]:
    await stage.agent.start()
    if not await stage.until(lambda: stage.server.called(what), stage.options.patience):
        raise CurtainError(stage.absence())
    await stage.until(lambda: len(stage.server.called(what)) > MOST_CALLS, WINDOW_SECONDS)
    return stage.server.called(what)


def _hammering(calls: Sequence[Call]) -> str | None:
    # By the calls' own times: a busy machine may look up later than after the window.
    soon = len([call for call in calls if call.at - calls[0].at < WINDOW_SECONDS])
    return f"{soon} tries within {WINDOW_SECONDS:.0f} s" if soon > MOST_CALLS else None


async def coming_back(stage: Stage) -> None:
    """Close the connection with a command in it, and deliver again what has ended before."""
    findings = stage.findings
    await stage.agent.start()
    link = await stage.connected()
    first, *others = stage.known() or [stage.unknown()]
    seen = await stage.executed(link, [first], EXECUTION_SECONDS)
    if seen is not None:
        raise CurtainError(seen)
    lost = stage.unknown()
    closed_at = stage.now()
    link.send(*stage.deliver(link, lost, lossy=True), close=1001)
    try:
        link = await stage.connected(after=1, seconds=RETURN_SECONDS)
    except CurtainError as error:
        findings.failed("returns-after-close", str(error))
        raise
    findings.passed("returns-after-close")
    await stage.until(lambda: stage.end_of(lost, closed_at), 2.0)
    _judge_kept(stage, link, stage.end_of(lost, closed_at))
    again = type(first)(command_id=first.command_id, action=first.action, payload=first.payload, attempt=2)
    before, delivered_at = stage.end_of(first), stage.now()
    link.send(*stage.deliver(link, again))
    seen = await stage.ended(link, again, EXECUTION_SECONDS, since=delivered_at)
    if stage.silent:
        findings.skipped("redelivery-acked", "agents of the platform docker are not expected to acknowledge")
    else:
        acked = await stage.until(lambda: stage.acked(again, delivered_at), ANSWER_SECONDS if seen is None else 0.0)
        findings.judge("redelivery-acked", None if acked else "no ack of the second attempt")
    after = stage.end_of(again, delivered_at)
    unknown = before is not None and "unknown" in str(before.body)
    note = "only with an action that the agent does not know: --action NAME lets me see more" if unknown else ""
    findings.judge("redelivery-same-end", seen or _difference(before, after), note)
    await stage.executed(link, others, EXECUTION_SECONDS)


def _judge_kept(stage: Stage, link: Link, end: Report | None) -> None:
    over_new = any(report == end for message in link.messages for report in message.said.reports)
    if end is not None and not over_new:
        stage.findings.skipped(
            "keeps-outcomes", "the agent was faster than the close: the outcome still came over the old one"
        )
    else:
        seen = "within 2 s of the reconnection nothing came about the command that was sent right before the close"
        stage.findings.judge("keeps-outcomes", None if end is not None else seen)


def _difference(before: Report | None, after: Report | None) -> str | None:
    if before is None or after is None or (before.kind, before.body) == (after.kind, after.body):
        return None
    return f"first {_told(before)}, then {_told(after)}"


def _told(report: Report) -> str:
    text = json.dumps(report.body)
    return f"{report.kind} {text if len(text) <= 200 else text[:200] + '…'}"  # noqa: PLR2004 - two lines


async def loss(stage: Stage) -> None:
    """Cut the connection, let some attempts fail, and let the agent in again."""
    findings, server = stage.findings, stage.server
    await stage.agent.start()
    link = await stage.connected()
    await stage.until(lambda: False, 0.3)
    server.outage = True
    cut_at = stage.now()
    link.abort()
    await stage.until(lambda: len(_attempts(stage, cut_at)) >= OUTAGE_CALLS, OUTAGE_SECONDS)
    server.outage = False
    back_at = stage.now()
    try:
        link = await stage.connected(after=1, seconds=RETURN_SECONDS)
    except CurtainError as error:
        findings.failed("returns-after-loss", str(error))
        raise
    findings.judge("returns-after-loss", await stage.executed(link, [stage.unknown()]))
    again = [call for call in server.called("register", back_at) if call.at <= link.opened_at]
    findings.judge("registers-again", None if again else "a handshake without a registration before it")
    moments = [cut_at, *(call.at for call in _attempts(stage, cut_at))]
    pauses = [later - earlier for earlier, later in pairwise(moments)][: OUTAGE_CALLS + 1]
    shown = ", ".join(f"{pause:.2f}" for pause in pauses)
    quick = len(pauses) > OUTAGE_CALLS and sum(pauses) < QUICK_SECONDS
    findings.judge("backs-off", f"attempts after {shown} s" if quick else None, f"after {shown} s")
    if quick or len(pauses) < OUTAGE_CALLS:
        findings.skipped("jitter", f"too few pauses to judge: {shown} s")
    else:
        findings.judge("jitter", _regularity(pauses))


def _attempts(stage: Stage, since: float) -> list[Call]:
    """Return the calls that begin an attempt: registrations, and handshakes that none precedes."""
    calls = [call for call in stage.server.calls if call.at >= since and call.what in {"register", "connect"}]
    pairs = zip([None, *calls], calls, strict=False)
    return [call for before, call in pairs if call.what == "register" or before is None or before.what == "connect"]


def _regularity(pauses: list[float]) -> str | None:
    shown = ", ".join(f"{pause:.2f}" for pause in pauses)
    if max(pauses) <= min(pauses) * (1 + ALIKE) + 0.02:
        return f"the pauses are all alike: {shown} s"
    ratios = [later / max(earlier, 0.001) for earlier, later in pairwise(pauses)]
    if all(abs(ratio - 2) < 2 * ALIKE for ratio in ratios):
        return f"each pause is twice the one before, without jitter: {shown} s"
    return None


async def patience(stage: Stage) -> None:
    """Say nothing, and listen for signs of life."""
    findings = stage.findings
    if not stage.options.slow:
        for name in ("heartbeat", "keep-alive-ping"):
            findings.skipped(name, "takes up to 65 s: with --slow")
        return
    await stage.agent.start()
    link = await stage.connected()

    def beats() -> list[Any]:
        return [message.said.fields for message in link.messages if message.said.type == "heartbeat"]

    if await stage.until(beats, HEARTBEAT_SECONDS):
        findings.judge("heartbeat", _wrong_beat(beats()[0]))
    else:
        findings.failed("heartbeat", f"none within {HEARTBEAT_SECONDS:.0f} s")
    pinged = await stage.until(lambda: link.pings, link.opened_at + PING_SECONDS - stage.now())
    findings.judge("keep-alive-ping", None if pinged else f"none within {PING_SECONDS:.0f} s")


def _wrong_beat(fields: dict[str, Any]) -> str | None:
    wanted = {"status": str, "activeSessions": int, "capacity": dict}
    wrong = [name for name, kind in wanted.items() if not isinstance(fields.get(name), kind)]
    return f"{wrong[0]} is {fields.get(wrong[0])!r}" if wrong else None


SCENES: dict[str, tuple[str, Callable[[Stage], Coroutine[Any, Any, None]]]] = {
    "registration": ("Coming in: registration, and waiting for approval", registration),
    "refusal": ("Refused at the registration", refusal),
    "forbidden": ("Refused at the handshake", forbidden),
    "conversation": ("Connected: commands, reports, odd messages", conversation.play),
    "return": ("Closed by the service: coming back, delivered again", coming_back),
    "loss": ("Connection lost: attempts that fail, pauses between them", loss),
    "patience": ("Signs of life", patience),
}
