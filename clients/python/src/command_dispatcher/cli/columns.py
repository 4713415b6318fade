"""The columns of each table, and the fields of each single thing."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from command_dispatcher.cli.output import on_terminal
from command_dispatcher.cli.tables import Column
from command_dispatcher.cli.values import age, json_text, labels_text, moment, short_json

SHORT = 60
"""A JSON value of at most so many characters stands on one line."""


def field(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a text of a member; nothing for null."""

    def text(item: Mapping[str, Any]) -> str:
        value = item.get(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else short_json(value)

    return text


def _when(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a moment for a table: how long ago on a terminal, absolute in a pipe."""

    def text(item: Mapping[str, Any]) -> str:
        value = _moment(item.get(name))
        return age(value) if on_terminal() else moment(value)

    return text


def _clock(item: Mapping[str, Any]) -> str:
    """Return the moment of an entry: the time of day on a terminal if it is of the last day, absolute in a pipe."""
    value = _moment(item["at"])
    text = moment(value)
    is_recent = value is not None and datetime.now(UTC) - value < timedelta(days=1)
    return text[11:] if on_terminal() and is_recent else text


def _both(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a moment for a line of its own: absolute, and how long ago."""

    def text(item: Mapping[str, Any]) -> str:
        value = _moment(item.get(name))
        if value is None:
            return ""
        distance = age(value)
        return f"{moment(value)} ({distance if distance.startswith('in ') else f'{distance} ago'})"

    return text


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _labels(item: Mapping[str, Any]) -> str:
    return labels_text(item.get("labels") or {})


def _pretty(name: str) -> Callable[[Mapping[str, Any]], str]:
    def text(item: Mapping[str, Any]) -> str:
        value = item.get(name)
        if value is None or value == {}:
            return ""
        line = short_json(value)
        return line if len(line) <= SHORT else json_text(value)

    return text


def _joined(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda item: ",".join(item.get(name) or ())


AGENTS = (
    Column("AGENT", field("agentId"), is_id=True),
    Column("PRESENCE", field("presence"), whole=True),
    Column("APPROVAL", field("approval")),
    Column("PENDING", field("pendingCount")),
    Column("SEEN", _when("lastSeenAt")),
    Column("PLATFORM", field("platform"), optional=True),
    Column("LABELS", _labels),
)
AGENT = (
    Column("agent", field("agentId"), is_id=True),
    Column("presence", field("presence")),
    Column("approval", field("approval")),
    Column("platform", field("platform")),
    Column("region", field("region")),
    Column("labels", _labels),
    Column("facts", _pretty("facts")),
    Column("capacity", _pretty("capacity")),
    Column("metadata", _pretty("metadata")),
    Column("pending commands", field("pendingCount")),
    Column("oldest pending", _both("oldestPendingAt")),
    Column("active sessions", field("activeSessions")),
    Column("created", _both("createdAt")),
    Column("registered", _both("registeredAt")),
    Column("connected", _both("connectedAt")),
    Column("last seen", _both("lastSeenAt")),
    Column("API key", field("apiKey")),
)
KEYS = (
    Column("KEY", field("keyId"), is_id=True),
    Column("CREATED", _when("createdAt")),
    Column("BY", field("createdBy")),
)
NEW_KEY = (
    Column("key id", field("keyId"), is_id=True),
    Column("API key", field("apiKey")),
)
COMMANDS = (
    Column("COMMAND", field("commandId"), is_id=True),
    Column("STATUS", field("status"), whole=True),
    Column("AGE", _when("createdAt")),
    Column("AGENT", field("agentId")),
    Column("ACTION", field("action")),
)
COMMAND = (
    Column("command", field("commandId"), is_id=True),
    Column("agent", field("agentId")),
    Column("action", field("action")),
    Column("status", field("status")),
    Column("cause", field("cause")),
    Column("error", field("errorMessage")),
    Column("payload", _pretty("payload")),
    Column("progress", _pretty("progress")),
    Column("result", _pretty("result")),
    Column("attempt", lambda item: f"{item['attempt']} of {item['maxAttempts']}"),
    Column("session", field("sessionId")),
    Column("priority", lambda item: str(item["priority"] or "")),
    Column("accepted", _both("createdAt")),
    Column("not before", _both("notBefore")),
    Column("deliver by", _both("deliverBy")),
    Column("sent", _both("sentAt")),
    Column("acknowledged", _both("acknowledgedAt")),
    Column("ended", _both("completedAt")),
    Column("cancel requested", _both("cancelRequestedAt")),
    Column("submitted by", field("submittedBy")),
    Column("redrive of", field("redriveOf")),
)
ACCEPTED = (
    Column("COMMAND", field("commandId"), is_id=True),
    Column("STATUS", field("status"), whole=True),
    Column("AGENT", field("agentId")),
)
TO_SEND = (
    Column("AGENT", field("agentId"), is_id=True),
    Column("ACTION", field("action")),
    Column("PAYLOAD", field("payload")),
)
HISTORY = (
    Column("AT", _clock, is_id=True),
    Column("FROM", field("fromStatus")),
    Column("TO", field("toStatus")),
    Column("ATTEMPT", field("attempt")),
    Column("CAUSE", field("cause")),
)
SESSIONS = (
    Column("SESSION", field("name"), is_id=True),
    Column("STATE", field("state")),
    Column("USER", field("user")),
    Column("TEMPLATE", field("template")),
    Column("AGENT", field("agentId")),
    Column("UPDATED", _when("updatedAt")),
)
SESSION = (
    Column("session", field("name"), is_id=True),
    Column("state", field("state")),
    Column("user", field("user")),
    Column("template", field("template")),
    Column("agent", field("agentId")),
    Column("resources", field("resources")),
    Column("persistent home", field("persistentHome")),
    Column("details", _pretty("details")),
    Column("created", _both("createdAt")),
    Column("updated", _both("updatedAt")),
    Column("command", field("commandId")),
)
TEMPLATES = (
    Column("TEMPLATE", lambda item: str(item["metadata"]["name"]), is_id=True),
    Column("DISPLAY NAME", lambda item: str(item["spec"].get("displayName") or "")),
    Column("IMAGE", lambda item: str(item["spec"].get("baseImage") or "")),
)
EVENTS = (
    Column("AT", _clock, whole=True),
    Column("TYPE", field("type"), whole=True),
    Column("AGENT", field("agentId")),
    Column("COMMAND", field("commandId"), whole=True),
    Column("ACTION", field("action"), optional=True),
    Column("CAUSE", field("cause"), optional=True),
    Column("ID", field("id"), is_id=True, optional=True),
)
OPERATORS = (
    Column("OPERATOR", field("username"), is_id=True),
    Column("ROLE", field("role")),
    Column("LABELS", _labels),
    Column("CREATED", _when("createdAt")),
    Column("DISABLED", _when("disabledAt")),
)
TOKENS = (
    Column("TOKEN", field("tokenId"), is_id=True),
    Column("NAME", field("name")),
    Column("ROLE", field("role")),
    Column("EXPIRES", _when("expiresAt")),
)
NEW_TOKEN = (
    Column("token id", field("tokenId"), is_id=True),
    Column("name", field("name")),
    Column("role", field("role")),
    Column("expires", _both("expiresAt")),
    Column("token", field("token")),
)
ENROLMENT_TOKENS = (
    Column("TOKEN", field("tokenId"), is_id=True),
    Column("FOR", lambda item: str(item.get("agentId") or f"{item.get('prefix')}*")),
    Column("USES LEFT", field("usesLeft")),
    Column("EXPIRES", _when("expiresAt")),
    Column("BY", field("createdBy")),
)
ENROLMENT_TOKEN = (
    Column("token id", field("tokenId"), is_id=True),
    Column("agent", field("agentId")),
    Column("prefix", field("prefix")),
    Column("labels", _labels),
    Column("approved", field("approved")),
    Column("reusable", field("reusable")),
    Column("uses left", field("usesLeft")),
    Column("created", _both("createdAt")),
    Column("created by", field("createdBy")),
    Column("expires", _both("expiresAt")),
    Column("token", field("token")),
)
AUDIT = (
    Column("AT", _clock, is_id=True),
    Column("WHO", field("actor")),
    Column("ACTION", field("action")),
    Column("AGENT", field("agentId")),
    Column("COMMAND", field("commandId"), whole=True),
    Column("DETAIL", field("detail"), optional=True),
)
FINDINGS = (
    Column("INVARIANT", field("check"), is_id=True),
    Column("BROKEN BY", field("offenders")),
    Column("FOR EXAMPLE", _joined("some")),
)
WEBHOOKS = (
    Column("WEBHOOK", field("webhookId"), is_id=True),
    Column("ENABLED", field("enabled")),
    Column("URL", field("url")),
    Column("TYPES", _joined("types"), optional=True),
    Column("SELECTOR", field("selector"), optional=True),
)
WEBHOOK = (
    Column("webhook", field("webhookId"), is_id=True),
    Column("URL", field("url")),
    Column("types", _joined("types")),
    Column("selector", field("selector")),
    Column("description", field("description")),
    Column("enabled", field("enabled")),
    Column("disabled", _both("disabledAt")),
    Column("disabled because", field("disabledReason")),
    Column("failures", lambda item: field("failures")(item) if item.get("failures") else ""),
    Column("failing since", _both("failingSince")),
    Column("next try", _both("nextTryAt")),
    Column("created", _both("createdAt")),
    Column("changed by", field("changedBy")),
    Column("old secret until", _both("oldSecretUntil")),
    Column("secret", field("secret")),
)
TRIAL = (
    Column("delivered", field("delivered"), is_id=True),
    Column("HTTP status", field("status")),
    Column("error", field("error")),
    Column("milliseconds", field("milliseconds")),
)
DELIVERIES = (
    Column("AT", _clock, is_id=True),
    Column("DELIVERED", field("delivered")),
    Column("STATUS", field("status")),
    Column("TYPE", field("type")),
    Column("TRY", field("attempt")),
    Column("ERROR", field("error")),
)
