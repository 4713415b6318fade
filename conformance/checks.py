"""The checks: what an agent has to do, how binding it is, and the sentence of docs/protocol.md that says so."""

from dataclasses import dataclass
from enum import StrEnum

FRAME_BYTES = 32 * 1024
"""API Gateway's largest frame."""
MESSAGE_BYTES = 128 * 1024
"""API Gateway's largest message."""


class Level(StrEnum):
    """How binding a check is, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement; `sentence` is quoted from the protocol, or None if the protocol does not mention it."""

    name: str
    level: Level
    sentence: str | None
    expected: str
    advice: str
    scenario: str
    protocol: int | None = None
    """The only protocol that the check applies to."""


def _checks(scenario: str, *rows: tuple[str, Level, str | None, str, str], protocol: int | None = None) -> list[Check]:
    return [Check(*row, scenario=scenario, protocol=protocol) for row in rows]


MUST, SHOULD = Level.MUST, Level.SHOULD

_REGISTER = "**Register.** `POST {url}/api/v1/agents/register`"
_HEADERS = "headers `Content-Type: application/json` and `X-Agent-Api-Key: <64 hexadecimal digits>`"
_PENDING = '202 with `"approvalStatus": "pending"`: ask again in 30 s.'
_REFUSED = "if the id and the key do not belong together, nothing will change that without an operator."
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
         "the agent posts to /api/v1/agents/register of DISPATCHER_URL soon after its start",
         "Take the URL from DISPATCHER_URL, or write {url} into the command, and register before anything else."),
        ("register-key", MUST, _HEADERS, "the header X-Agent-Api-Key has the value of AGENT_API_KEY",
         "Send the key with the registration, without a prefix and without quotes."),
        ("register-content-type", MUST, _HEADERS, "the header Content-Type is application/json",
         "Set Content-Type: application/json on the registration."),
        ("register-body", MUST, 'body `{"agentId", "platform", "region"?, "capacity"?, "metadata"?, "facts"?}`',
         "a JSON object: agentId is AGENT_ID; platform and region are strings; capacity, metadata and facts are objects",
         "Build the body with a JSON library, and leave out the optional fields that you have no value for."),
        ("pending-stays-out", MUST, _PENDING, "the agent does not connect while the answer is 202 with approvalStatus pending",
         "Connect only after a 200. Until then, register again every 30 s."),
        ("pending-patient", MUST, _PENDING, "the agent waits between two registrations",
         "Wait 30 s between two registrations while the approval is pending."),
        ("pending-asks-again", MUST, _PENDING, "the agent registers again within 45 s",
         "Do not give up after a 202: an operator may approve the agent at any time."),
        ("approved-connects", MUST, "200: go on.", "the agent connects after the registration was answered with 200",
         "Stop registering at the first 200, and connect."),
    ),
    *_checks(
        "refusal",
        ("refused-patient", MUST, _REFUSED, "after a 401 the agent ends, or waits long before it asks again",
         "Treat 401 as final, or wait at least 30 s before each further registration."),
        ("refused-stays-out", SHOULD, _REFUSED, "the agent does not connect after its registration was refused",
         "Check the status of the registration before you connect."),
    ),
    *_checks(
        "forbidden",
        ("forbidden-patient", MUST, "403: refused.", "after a 403 the agent ends, or tries again after pauses that grow",
         "Treat a refused handshake as a failed attempt: wait up to 1, 2, 4 … 32 s, at random."),
    ),
    *_checks(
        "conversation",
        ("connects", MUST, _CONNECT, "the agent opens a WebSocket at /api/v1/agents/connect after the registration",
         "Use the same host and port; replace http:// by ws://, and https:// by wss://."),
        ("connect-agent-id", MUST, _CONNECT, "the query parameter agent_id is AGENT_ID, percent-encoded",
         "Append ?agent_id=<id>, and encode the id as a query parameter."),
        ("connect-key", MUST, _CONNECT, "the handshake has the same header X-Agent-Api-Key as the registration",
         "Pass the header to your WebSocket library as an additional header of the handshake."),
        ("protocol", MUST, "Add `&protocol=2` for the second protocol",
         "the agent requests the protocol of --protocol; without the parameter that is 1",
         "Add &protocol=2 to the URL of the WebSocket, or run the kit with the protocol that your agent speaks."),
        ("plain-websocket", MUST, _PLAIN, "the agent works without a subprotocol and without an extension",
         "Do not request a subprotocol, and do not require compression."),
        ("websocket-ping", MUST, "A WebSocket ping every 54 s or so keeps proxies awake; pongs come back.",
         "the agent answers a WebSocket ping by a pong with the same content within 5 s",
         "Most libraries answer pings only while you read: keep reading while you execute commands."),
        ("acks", MUST, _ACK, "the agent acknowledges each command",
         "Send an ack with the commandId before you execute a command."),
        ("ack-first", MUST, _ACK, "the ack comes before the report of the end",
         "Send the ack before you execute the command, not with or after its result."),
        ("outcomes", MUST, _END, "each acknowledged command ends: complete or failed",
         "Report failed after every error, also one that you did not expect."),
        ("unknown-action", MUST, _UNKNOWN, "a command with an unknown action ends as failed",
         "Where you choose by the action, add a default branch that reports failed."),
        ("unknown-action-words", SHOULD, _UNKNOWN, "the error is: unknown action: <action>",
         "Use exactly these words, because operators search for them."),
        ("command-ids", MUST, _TWICE, "each report has the commandId of a command that was sent",
         "Send the commandId back unchanged, as a string."),
        ("reports", MUST, "From the agent, each with its own message", "each report has the fields that the protocol names",
         "Compare your messages with the examples of the protocol, field by field."),
        ("known-types", SHOULD, "A message that is not understood is reported in the service's log and changes nothing",
         "each message has a type that this protocol defines",
         "Do not send messages that the service does not understand: they cost money and fill its log."),
        ("one-document", MUST, _MESSAGE, "each message is one JSON document",
         "Send each document as its own message; do not join documents by newlines."),
        ("text-messages", SHOULD, _MESSAGE, "each message is a text message",
         "Send text: API Gateway closes the connection after a binary message (1003)."),
        ("message-size", MUST, _MESSAGE, "no message is larger than 131072 bytes",
         "Shorten the result, or store it elsewhere and report its address."),
        ("frame-size", MUST, "a WebSocket frame of yours holds at most 32 KB, so larger messages go in fragments",
         "no frame is larger than 32768 bytes", "Split larger messages into fragments of at most 32768 bytes."),
        ("ping-message", SHOULD, None, 'the message {"type": "ping"} is answered by {"type": "pong"}',
         "Answer it, because old services send it. The protocol does not require this."),
        ("unknown-fields", MUST, _IGNORE, "the agent executes a command that has additional fields",
         "Read the fields that you know, and ignore the others."),
        ("unknown-types", MUST, _IGNORE, "the agent ignores a message of an unknown type or without a type",
         "Where you choose by the type, add a default branch that does nothing."),
        ("survives-garbage", MUST, _GARBAGE, "after a meaningless message the agent executes the next command, same connection",
         "Catch the errors of decoding, log them, and keep reading."),
        ("fragments", MUST, _MESSAGE, "the agent executes a command that arrives in three fragments with a ping between them",
         "Read messages and not frames: your library joins the fragments."),
        ("large-command", MUST, _MESSAGE, "the agent executes a command of 131072 bytes",
         "Set the message limit of your WebSocket library to at least 128 KB."),
        ("order", SHOULD, "**Execute in the order of arrival**, or do not depend on order",
         "three commands end in the order in which they were sent",
         "Execute one command after the other. Ignore this check if your commands do not depend on order."),
        ("sigterm", SHOULD, None, "the process ends within 5 s after SIGTERM",
         "Handle SIGTERM: close the connection and end."),
    ),
    *_checks(
        "conversation",
        ("window", MUST, "and `&window=<1 to 100>` for how many commands you take unacknowledged (32 without it).",
         "the query parameter window is absent or a number from 1 to 100", "Request a window of 1 to 100."),
        ("batch", MUST, "To the agent, as many commands as fit into 128 KB and its window, in order",
         "all three commands of one message end",
         "Process every entry of the list `commands`."),
        ("attempt", MUST, _ECHO, "each report has the attempt of its command, as a number",
         "Store the attempt with the command, and send it back in each report."),
        ("cancel-unknown", MUST, _CANCEL, "the agent ignores the cancel of a command that it never received",
         "Ignore a cancel with an unknown commandId."),
        ("cancel", MUST, _CANCEL, "a cancelled command still ends: complete, failed or cancelled",
         "After a cancel, finish the command or report cancelled; never leave it without an end."),
        ("too-late", SHOULD, "If it has passed when the command arrives, do not execute it, and report it as failed.",
         "a command whose deliverBy has passed ends as failed",
         "Compare deliverBy with the clock before you execute; the gateway may have held the message back."),
        ("resume", MUST, "**After a crash** an agent may say first of all what it still executes",
         "a resume is the first message of its connection, with a commandId and an attempt for each running command",
         "Send resume before any other message, or do not send it."),
        protocol=2,
    ),
    *_checks(
        "reconnection",
        ("returns-after-close", MUST, _RECONNECT, "the agent reconnects within 20 s after a close with code 1001",
         "Reconnect after every end of a connection, whatever the close code is."),
        ("keeps-outcomes", SHOULD, "**Keep reports that you could not send**, and send them over the next connection.",
         "a report that the old connection did not carry comes over the next one",
         "Keep a queue of reports outside the connection; remove a report only after it was sent."),
        ("redelivery-acked", MUST, _ACK,
         "a redelivered command is acknowledged with its new attempt, or its end is reported again",
         "Acknowledge each delivery; without an ack the service delivers the command again and again."),
        ("redelivery-same-end", MUST, _TWICE, "a redelivered command is not executed again: its first end is reported again",
         "Store the ends of the last commands by commandId, and report them again."),
    ),
    *_checks(
        "reconnection",
        ("unconfirmed-again", MUST, "Keep reports until they are received, and say them again over the next connection.",
         "a report with an id that was not confirmed comes again over the next connection",
         "Remove a report from your queue when the message `received` names its id, not when it was sent."),
        protocol=2,
    ),
    *_checks(
        "connection-loss",
        ("returns-after-loss", MUST, _RECONNECT, "the agent reconnects after its connection was cut (1006) and attempts failed",
         "Reconnect after network errors and after failed attempts too."),
        ("registers-again", MUST, _RECONNECT, "the agent registers before each connection",
         "Begin each attempt with a registration."),
        ("backs-off", MUST, _RECONNECT, "the first four attempts together take more than half a second",
         "Wait before each attempt: a random time up to 1, 2, 4 … 32 s."),
        ("jitter", SHOULD, _RECONNECT, "the pauses between attempts look random: not all alike, not doubled each time",
         "Choose each pause at random between 0 and the bound, so that agents do not reconnect at the same moment."),
    ),
    *_checks(
        "keep-alive",
        ("heartbeat", MUST, "A heartbeat every 30 s (below).", "the agent sends a heartbeat with all its fields within 35 s",
         "Send a heartbeat every 30 s while the connection is open."),
        ("keep-alive-ping", SHOULD, "A WebSocket ping every 54 s or so keeps proxies awake; pongs come back.",
         "the agent sends a WebSocket ping within 65 s", "Switch on the pings of your WebSocket library."),
    ),
)
# fmt: on

BY_NAME = {check.name: check for check in CHECKS}
