"""What an agent is checked for: each check with its level and the sentence of docs/protocol.md that it comes from."""

from dataclasses import dataclass
from enum import StrEnum

FRAME_BYTES = 32 * 1024
"""API Gateway's largest frame."""
MESSAGE_BYTES = 128 * 1024
"""API Gateway's largest message."""


class Level(StrEnum):
    """How bad it is to fail a check, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that holds for an agent or does not; `sentence` is None for what the protocol leaves unsaid."""

    name: str
    level: Level
    scene: str
    sentence: str | None
    expected: str
    mend: str
    protocol: int | None = None


def _checks(scene: str, *rows: tuple[str, Level, str | None, str, str], protocol: int | None = None) -> list[Check]:
    return [
        Check(name=name, level=level, scene=scene, sentence=sentence, expected=expected, mend=mend, protocol=protocol)
        for name, level, sentence, expected, mend in rows
    ]


MUST, SHOULD = Level.MUST, Level.SHOULD

_REGISTER = "**Register.** `POST {url}/api/v1/agents/register`"
_HEADERS = "headers `Content-Type: application/json` and `X-Agent-Api-Key: <64 hexadecimal digits>`"
_PENDING = '202 with `"approvalStatus": "pending"`: ask again in 30 s.'
_REFUSED = "401: the id and the key do not belong together; nothing will change that without an operator."
_CONNECT = "`GET {ws url}/api/v1/agents/connect?agent_id=<id>`, the same key header, `Upgrade: websocket`."
_PLAIN = "No subprotocol, no compression."
_RECONNECT = "**Reconnect** after 1, 2, 4 … 32 s, each with full jitter, and register again each time."
_MESSAGE = "A message is one JSON document of at most 128 KB"
_IGNORE = "Fields and types of messages that you do not know are to be ignored"
_GARBAGE = "A message that has no meaning is to be ignored, and the connection to be kept"
_ACK = "**Ack before you execute.** The ack stops redelivery."
_END = "**Report every end**: complete or failed."
_UNKNOWN = "An action that you do not know has failed, with `unknown action: <action>`."
_TWICE = "The same `commandId` with a larger attempt is the same command"
_ECHO = "`attempt` is the number that came with the command: send it back as it was."
_CANCEL = "finish, or stop and say `cancelled`; a command that you do not know any more needs no answer."

# fmt: off
CHECKS: tuple[Check, ...] = (
    *_checks(
        "registration",
        ("registers", MUST, _REGISTER,
         "the agent posts to /api/v1/agents/register of DISPATCHER_URL soon after it was started",
         "Take the URL from DISPATCHER_URL, or write {url} into the command, and register before anything else."),
        ("register-key", MUST, _HEADERS, "the header X-Agent-Api-Key holds the key, as it is in AGENT_API_KEY",
         "Send the key with the registration: as it is, no prefix, no quotes."),
        ("register-content-type", MUST, _HEADERS, "the header Content-Type says application/json",
         "Set Content-Type: application/json on the registration."),
        ("register-body", MUST, 'body `{"agentId", "platform", "region"?, "capacity"?, "metadata"?}`',
         "a JSON object: agentId as in AGENT_ID, platform a text, region a text, capacity and metadata objects",
         "Build the body with a JSON library; leave out what you have no value for."),
        ("pending-stays-out", MUST, _PENDING, "no connection while the answer is 202 with approvalStatus pending",
         "Connect only after a 200; until then register again and again."),
        ("pending-patient", MUST, _PENDING, "the agent asks again after 30 s, not many times a second",
         "Wait 30 s between two registrations while the approval is pending."),
        ("pending-asks-again", MUST, _PENDING, "the agent registers again within 45 s",
         "Do not give up on 202: an operator may approve the agent at any time."),
        ("approved-connects", MUST, "200: go on.", "the agent connects when the registration was answered with 200",
         "Leave the loop of registrations at the first 200, and connect."),
    ),
    *_checks(
        "refusal",
        ("refused-patient", MUST, _REFUSED, "after a 401 the agent gives up, or asks again after a long while only",
         "Treat 401 as final, or wait as long as between reconnections at their slowest: 32 s."),
        ("refused-stays-out", SHOULD, _REFUSED, "no connection is tried after the registration was refused",
         "Look at the status of the registration before you connect."),
    ),
    *_checks(
        "forbidden",
        ("forbidden-patient", MUST, "403: refused.", "after a 403 the agent gives up, or tries again after pauses that grow",
         "Count a refused handshake as a failed attempt: wait 1, 2, 4 … 32 s, each with full jitter."),
    ),
    *_checks(
        "conversation",
        ("connects", MUST, _CONNECT, "a WebSocket handshake at /api/v1/agents/connect after the registration",
         "Open the WebSocket at the same host, with ws:// for http:// and wss:// for https://."),
        ("connect-agent-id", MUST, _CONNECT, "the parameter agent_id is the agent's id, percent-encoded where needed",
         "Append ?agent_id=<the id>; encode it as a query parameter."),
        ("connect-key", MUST, _CONNECT, "the handshake carries X-Agent-Api-Key as the registration does",
         "Give the WebSocket library the header for its handshake request."),
        ("protocol", MUST, "Add `&protocol=2` for the second protocol",
         "the protocol that the agent asks for is the one of --protocol, 1 without a parameter",
         "Add &protocol=2 to the URL of the WebSocket, or run this with the protocol that the agent speaks."),
        ("plain-websocket", MUST, _PLAIN, "the connection is used although neither subprotocol nor extension was agreed on",
         "Do not ask for a subprotocol, and do not insist on compression."),
        ("websocket-ping", MUST, "A WebSocket ping every 54 s or so keeps proxies awake; pongs come back.",
         "a WebSocket ping is answered by a pong with the same content, within 3 s",
         "Most libraries answer pings while the agent reads: keep reading while commands are executed."),
        ("acks", MUST, _ACK, "each command is acknowledged",
         "Send an ack with the commandId as soon as you take a command."),
        ("ack-first", MUST, _ACK, "the ack comes before the end of the command",
         "Send the ack before you execute, not together with the outcome and not after it."),
        ("outcomes", MUST, _END, "each command that was acknowledged ends: complete or failed",
         "Report failed also when the execution raised something that you did not foresee."),
        ("unknown-action", MUST, _UNKNOWN, "an unknown action ends as failed, with a text in error",
         "Give the choice of actions a last branch that fails."),
        ("unknown-action-words", SHOULD, _UNKNOWN, "the error is: unknown action: <action>",
         "Use these words: operators search for them."),
        ("command-ids", MUST, _TWICE, "each report names a command that was sent, by exactly its commandId",
         "Keep the commandId as the text that it came as."),
        ("reports", MUST, "From the agent, each with its own message", "ack, complete, failed have the fields of the protocol",
         "Compare your messages with those of the protocol, field by field."),
        ("known-types", SHOULD, "A message that is not understood is reported in the service's log and changes nothing",
         "each message has a type that the service knows in this protocol",
         "Leave out what the service does not understand: it costs money, and fills the log."),
        ("one-document", MUST, _MESSAGE, "each message is exactly one JSON document",
         "Send each document as a message of its own; do not join them by newlines."),
        ("text-messages", SHOULD, _MESSAGE, "each message is of text",
         "Send text, not binary: API Gateway closes the connection at a binary message (1003)."),
        ("message-size", MUST, _MESSAGE, "no message is larger than 131072 bytes",
         "Shorten results, or keep them elsewhere and report where."),
        ("frame-size", MUST, "a WebSocket frame of yours holds at most 32 KB, so larger messages go in fragments",
         "no frame is larger than 32768 bytes", "Split larger messages into fragments of at most 32768 bytes."),
        ("ping-message", SHOULD, None, 'the message {"type": "ping"} is answered by {"type": "pong"}',
         "Answer it: old services ask so. Ignoring it is no fault of the protocol."),
        ("unknown-fields", MUST, _IGNORE, "a command with further fields is executed as one without them",
         "Read the fields that you know, and let the JSON library ignore the others."),
        ("unknown-types", MUST, _IGNORE, "a message of an unknown type, or of none, changes nothing",
         "Give the choice of message types a last branch that does nothing."),
        ("survives-garbage", MUST, _GARBAGE, "after a message that means nothing the next command is executed, same connection",
         "Catch what decoding a message raises, write it to a log, and read on."),
        ("fragments", MUST, _MESSAGE, "a command that comes in three fragments, with a ping in between, is executed",
         "Read messages, not frames: let the library put them together."),
        ("large-command", MUST, _MESSAGE, "a command of 131072 bytes is executed",
         "Raise the limit of your WebSocket library to 128 KB at least."),
        ("order", SHOULD, "**Execute in the order of arrival**, or do not depend on order",
         "three commands end in the order in which they were sent",
         "Execute one command after the other. If yours do not depend on order, this is no fault."),
        ("sigterm", SHOULD, None, "the process ends within 5 s of a SIGTERM",
         "Handle SIGTERM: close the connection and end."),
    ),
    *_checks(
        "conversation",
        ("window", MUST, "and `&window=<1 to 100>` for how many commands you take unacknowledged (32 without it).",
         "the parameter window is absent or a number from 1 to 100", "Ask for a window of 1 to 100."),
        ("batch", MUST, "To the agent, as many commands as fit into 128 KB and its window, in order",
         "each command of a message with three ends",
         "Go through the whole list `commands` of a message."),
        ("attempt", MUST, _ECHO, "each report has the attempt of its command, as a number",
         "Keep the attempt with the command, and send it back in each report."),
        ("cancel-unknown", MUST, _CANCEL, "a cancel of a command that the agent never had does no harm",
         "Ignore a cancel of what you do not know."),
        ("cancel", MUST, _CANCEL, "a command that a cancel follows ends: complete, failed or cancelled",
         "A cancel never leaves a command without an end: finish it, or report cancelled."),
        protocol=2,
    ),
    *_checks(
        "return",
        ("returns-after-close", MUST, _RECONNECT, "after a close with 1001 the agent is back within 20 s",
         "Reconnect after each end of a connection, whatever its code."),
        ("keeps-outcomes", SHOULD, "**Keep reports that you could not send**, and send them over the next connection.",
         "the end of a command that the connection did not outlive comes over the next connection",
         "Queue reports outside of the connection, and take one from the queue only when it was sent."),
        ("redelivery-acked", MUST, _ACK, "a command that comes again is acknowledged again, with its new attempt",
         "Acknowledge each delivery: without that it goes on for ever."),
        ("redelivery-same-end", MUST, _TWICE, "a command that comes again ends as it did: executed once, reported twice",
         "Remember the outcomes of the last commands by commandId, and report them again."),
    ),
    *_checks(
        "loss",
        ("returns-after-loss", MUST, _RECONNECT, "after its connection was cut (1006), and attempts failed, the agent is back",
         "Reconnect also after errors of TCP, and after attempts that failed."),
        ("registers-again", MUST, _RECONNECT, "each connection is preceded by a registration of its own",
         "Begin each attempt with the registration."),
        ("backs-off", MUST, _RECONNECT, "the first four attempts take more than half a second altogether",
         "Wait before each attempt: at random up to 1, 2, 4 … 32 s."),
        ("jitter", SHOULD, _RECONNECT, "the pauses between attempts differ, and not by a plain doubling",
         "Draw each pause at random between 0 and the bound: else all agents come back at the same moment."),
    ),
    *_checks(
        "patience",
        ("heartbeat", MUST, "A heartbeat every 30 s (below).", "a heartbeat within 35 s of the connection, as in the protocol",
         "Send one every 30 s, from the opening of the connection on."),
        ("keep-alive-ping", SHOULD, "A WebSocket ping every 54 s or so keeps proxies awake; pongs come back.",
         "a WebSocket ping within 65 s", "Turn on your library's pings."),
    ),
)
# fmt: on

SCENES = tuple(dict.fromkeys(check.scene for check in CHECKS))
BY_NAME = {check.name: check for check in CHECKS}
