"""The checks that apply to all messages of an agent, in every scenario."""

from collections.abc import Iterable
from typing import Any

from conformance.checks import FRAME_BYTES, MESSAGE_BYTES
from conformance.harness import NO_ACKS_EXPECTED, Harness
from conformance.message_codec import Report, excerpt


def review(harness: Harness) -> None:
    """Judge all messages and reports of a scenario that has ended."""
    if harness.messages():
        _judge_messages(harness)
    if harness.reports():
        _judge_reports(harness)


def _judge_messages(harness: Harness) -> None:
    messages = harness.messages()
    judge = harness.findings.judge
    problems = [message.decoded.problem for message in messages if message.decoded.problem]
    for name in ("one-document", "known-types", "reports"):
        judge(name, next((why for check, why in problems if check == name), None))
    resumed = [
        m for connection in harness.service.connections for m in connection.messages if m.decoded.type == "resume"
    ]
    if resumed:
        late = any(m.decoded.type == "resume" for c in harness.service.connections for m in c.messages[1:])
        malformed = next((why for check, why in problems if check == "resume"), None)
        judge("resume", malformed or ("it is not the first message of its connection" if late else None))
    elif any(connection.protocol == 2 for connection in harness.service.connections):  # noqa: PLR2004 - the second protocol
        harness.findings.skipped("resume", "the agent does not say what it executes")
    binary = next((message for message in messages if not message.is_text), None)
    judge("text-messages", None if binary is None else f"a binary message: {excerpt(binary.data)}")
    for name, most, size in (
        ("message-size", MESSAGE_BYTES, max(len(message.data) for message in messages)),
        ("frame-size", FRAME_BYTES, max(max(message.frame_sizes) for message in messages)),
    ):
        largest = f"the largest had {size} bytes"
        harness.findings.expect(name, size <= most, largest, largest)


def _judge_reports(harness: Harness) -> None:
    findings, reports = harness.findings, harness.reports()
    attempts: dict[str, list[Any]] = {}
    for delivery in harness.deliveries:
        attempts.setdefault(delivery.command.command_id, []).append(delivery.command.attempt)
    findings.judge("command-ids", _unknown_command(reports, attempts))
    if any(connection.protocol == 2 for connection in harness.service.connections):  # noqa: PLR2004 - the second protocol
        findings.judge("attempt", _wrong_attempt(reports, attempts))
    if not harness.acks_expected:
        findings.skipped("acks", NO_ACKS_EXPECTED)
        findings.skipped("ack-first", NO_ACKS_EXPECTED)
    elif any(report.is_end and report.command_id in attempts for report in reports):
        missing = harness.unacknowledged()
        findings.judge("acks", f"{missing[0]} ended but was never acknowledged" if missing else None)
        excused = {d.command.command_id for d in harness.deliveries if d.ack_may_be_lost} | {*missing}
        findings.judge("ack-first", _end_before_ack(reports, attempts.keys() - excused))


def _unknown_command(reports: Iterable[Report], attempts: dict[str, list[Any]]) -> str | None:
    for report in reports:
        if report.command_id not in attempts:
            target = repr(report.command_id) if report.command_id else f"the session {report.session_id!r}"
            return f"{report.kind} for {target}, for which no command was sent"
    return None


def _wrong_attempt(reports: Iterable[Report], attempts: dict[str, list[Any]]) -> str | None:
    for report in reports:
        sent = attempts.get(report.command_id or "")
        if sent is not None and (type(report.attempt) is not int or report.attempt not in sent):
            return f"{report.kind} for {report.command_id} with attempt {report.attempt!r}; sent with attempt {sent}"
    return None


def _end_before_ack(reports: Iterable[Report], command_ids: set[str]) -> str | None:
    acked: set[str | None] = set()
    for report in reports:
        if report.kind == "ack":
            acked.add(report.command_id)
        elif report.kind in {"complete", "failed"} and report.command_id in command_ids - acked:
            return f"the end of {report.command_id} came before its ack"
    return None
