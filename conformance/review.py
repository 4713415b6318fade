"""What can be told from all that an agent said in a scene, whatever the scene was about."""

from collections.abc import Iterable

from conformance.checks import FRAME_BYTES, MESSAGE_BYTES
from conformance.codec import Report, excerpt
from conformance.harness import Sent, Stage
from conformance.link import Message


def review(stage: Stage) -> None:
    """Judge the messages and reports of a scene that is over."""
    messages = [message for link in stage.server.links for message in link.messages]
    if not messages:
        return
    _judge_messages(stage, messages)
    _judge_reports(stage)


def _judge_messages(stage: Stage, messages: list[Message]) -> None:
    findings = stage.findings
    for name in ("one-document", "known-types", "reports"):
        faults = [message.said.fault[1] for message in messages if message.said.fault and message.said.fault[0] == name]
        findings.judge(name, faults[0] if faults else None)
    binary = next((message for message in messages if not message.text), None)
    findings.judge("text-messages", None if binary is None else f"a binary message: {excerpt(binary.data)}")
    largest = max(len(message.data) for message in messages)
    findings.judge(
        "message-size",
        f"a message of {largest} bytes" if largest > MESSAGE_BYTES else None,
        f"the largest had {largest} bytes",
    )
    frame = max(max(message.frames) for message in messages)
    findings.judge(
        "frame-size", f"a frame of {frame} bytes" if frame > FRAME_BYTES else None, f"the largest had {frame} bytes"
    )


def _judge_reports(stage: Stage) -> None:
    findings = stage.findings
    reports = [report for _, report in stage.reports()]
    if not reports:
        return
    findings.judge("command-ids", _foreign(reports, stage.sent))
    if any(link.protocol == 2 for link in stage.server.links):  # noqa: PLR2004 - the second protocol
        findings.judge("attempt", _wrong_attempt(reports, stage.sent))
    if stage.silent:
        findings.skipped("acks", "agents of the platform docker are not expected to acknowledge")
        findings.skipped("ack-first", "agents of the platform docker are not expected to acknowledge")
        return
    ended = [name for name in stage.sent if any(report.end and report.command_id == name for report in reports)]
    if ended:
        missing = stage.unacked()
        findings.judge("acks", f"{missing[0]} ended, but was never acknowledged" if missing else None)
        late = [name for name in ended if name not in missing and _end_came_first(name, stage.sent[name], reports)]
        findings.judge("ack-first", f"the end of {late[0]} came before its ack" if late else None)


def _foreign(reports: Iterable[Report], sent: dict[str, Sent]) -> str | None:
    for report in reports:
        if report.command_id not in sent:
            named = repr(report.command_id) if report.command_id else f"the session {report.session_id!r}"
            return f"{report.kind} for {named}, which was never sent"
    return None


def _wrong_attempt(reports: Iterable[Report], sent: dict[str, Sent]) -> str | None:
    for report in reports:
        known = sent.get(report.command_id or "")
        if known is not None and (type(report.attempt) is not int or report.attempt not in known.attempts):
            return f"{report.kind} for {report.command_id} with attempt {report.attempt!r}; sent was {known.attempts}"
    return None


def _end_came_first(command_id: str, sent: Sent, reports: Iterable[Report]) -> bool:
    first = next(
        report for report in reports if report.command_id == command_id and (report.end or report.kind == "ack")
    )
    return first.kind in {"complete", "failed"} and not sent.lossy
