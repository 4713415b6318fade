"""The OpenAPI document as methods and types of Python, for the HTTP client."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

EXCLUDED = {
    ("post", "/api/v1/agents/register"): "agents register themselves, with their own key",
    ("post", "/api/v1/auth/session"): "it gives a cookie to a browser",
    ("get", "/api/v1/auth/session"): "the operators' page asks who is logged in",
    ("delete", "/api/v1/auth/session"): "the operators' page logs out",
    ("get", "/api/v1/auth/provider"): "the operators' page begins a log-in at an OpenID Connect issuer",
    ("post", "/api/v1/auth/provider"): "it gives a cookie to a browser",
    ("get", "/api/v1/values"): "the operators' page completes its filters",
}
"""Operations that are not for operators, each with its reason."""
WITHOUT = frozenset({"if-match"})
"""Headers that the clients do not send: their answers show no ETag."""
NAMES = {
    ("get", "/healthz"): "health",
    ("get", "/api/v1/overview"): "overview",
    ("get", "/api/v1/loss-check"): "check_for_loss",
    ("post", "/api/v1/auth/login"): "log_in",
    ("post", "/api/v1/agents/{agent_id}/commands"): "commands.submit",
    ("post", "/api/v1/commands"): "commands.submit_many",
    ("post", "/api/v1/commands/cancel"): "commands.cancel_matching",
    ("post", "/api/v1/commands/redrive"): "commands.redrive_matching",
    ("post", "/api/v1/agents/{agent_id}/keys"): "agents.issue_key",
    ("delete", "/api/v1/agents/{agent_id}/keys/{key_id}"): "agents.revoke_key",
    ("get", "/api/v1/events"): "events.read",
    ("delete", "/api/v1/operators/{username}"): "operators.disable",
    ("delete", "/api/v1/tokens/{token_id}"): "tokens.revoke",
    ("delete", "/api/v1/enrolment-tokens/{token_id}"): "enrolment_tokens.revoke",
    ("post", "/api/v1/sessions"): "sessions.start",
    ("delete", "/api/v1/sessions/{name}"): "sessions.stop",
    ("post", "/api/v1/webhooks/{webhook_id}/secret"): "webhooks.rotate_secret",
}
"""Methods whose names do not follow from their paths."""
VERBS = {"get": "get", "post": "create", "put": "put", "patch": "change", "delete": "delete"}
RENAMED = {
    "AgentDocument": "AgentInfo",
    "CommandDocument": "CommandInfo",
    "SessionDocument": "SessionInfo",
    "SubmitToRequest": "NewCommand",
    "FilterRequest": "CommandFilter",
}
"""Models whose names do not follow from their schemas: Agent and Command belong to the agent SDK."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument of a method."""

    name: str
    type: str
    default: str | None
    """None: it is required."""
    place: str
    """path, query, header, body or whole (the body itself)."""
    wire_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One operation of the API, as a method of the client."""

    group: str
    name: str
    verb: str
    path: str
    said: str
    parameters: tuple[Parameter, ...]
    result: str
    """The type of its result."""
    plural: str | None
    """The member with the items, if it is a list with a cursor."""


def snake(name: str) -> str:
    """Turn a name of the API into Python's."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).replace("-", "_").lower()


class Reader:
    """Reads the OpenAPI document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.schemas: dict[str, dict[str, Any]] = document["components"]["schemas"]
        self.answers: dict[str, None] = {}
        """Schemas that answers contain, in the order of their definition."""
        self.nested: dict[str, None] = {}
        """Schemas that are parts of bodies."""
        self.words: dict[str, None] = {}
        """Schemas of a few words, of which one is allowed."""

    def methods(self) -> list[Method]:
        """Return a method for each operation."""
        return [
            self._method(verb, path, operation)
            for path, operations in self.document["paths"].items()
            for verb, operation in operations.items()
            if (verb, path) not in EXCLUDED
        ]

    def _method(self, verb: str, path: str, operation: Mapping[str, Any]) -> Method:
        group, _, name = NAMES.get((verb, path), _name(verb, path)).rpartition(".")
        parameters = [self._parameter(item) for item in operation.get("parameters", ()) if item["name"] not in WITHOUT]
        result, plural = self._result(operation)
        if verb == "get" and plural and name == "get":
            name = "list"
        parameters += self._body(operation, verb)
        said = "\n\n".join(filter(None, (operation["summary"], operation.get("description"))))
        return Method(
            group=group,
            name=name,
            verb=verb.upper(),
            path=path,
            said=said,
            parameters=tuple(parameters),
            result=result,
            plural=plural,
        )

    def _parameter(self, item: Mapping[str, Any]) -> Parameter:
        name = snake(item["name"])
        kind = self.type_of(item["schema"], outside=False)
        if item.get("required"):
            default = None
        else:
            kind, default = or_none(kind), "None"
        return Parameter(name=name, type=kind, default=default, place=item["in"], wire_name=item["name"])

    def _result(self, operation: Mapping[str, Any]) -> tuple[str, str | None]:
        found: list[str] = []
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                continue
            if "content" not in response:
                found.append("None")
                continue
            schema = response["content"]["application/json"]["schema"]
            members: dict[str, Any] = self.schemas[_ref(schema)]["properties"] if "$ref" in schema else {}
            if "nextCursor" in members:
                plural = next(name for name in members if name != "nextCursor")
                return self.type_of(members[plural]["items"], outside=True), plural
            found.append(self.type_of(schema, outside=True))
        return " | ".join(dict.fromkeys(found)), None

    def _body(self, operation: Mapping[str, Any], verb: str) -> Iterable[Parameter]:
        content = operation.get("requestBody", {}).get("content")
        if not content:
            return ()
        schema = next(iter(content.values()))["schema"]
        schema = next((part for part in schema.get("anyOf", ()) if "$ref" in part), schema)
        members = self.schemas[_ref(schema)]
        if members.get("type") == "array":
            kind = self.type_of(members, outside=False)
            return (Parameter(name="commands", type=kind, default=None, place="whole", wire_name=""),)
        if members.get("additionalProperties") is True:
            return (Parameter(name="document", type="Mapping[str, Any]", default=None, place="whole", wire_name=""),)
        return [
            self._member(name, part, is_required=name in members.get("required", ()), is_patch=verb == "patch")
            for name, part in members["properties"].items()
        ]

    def _member(self, wire_name: str, schema: Mapping[str, Any], *, is_required: bool, is_patch: bool) -> Parameter:
        kind = self.type_of(schema, outside=False)
        default = None
        if not is_required:
            default = "UNSET"
            kind = or_unset(kind, keep_none=is_patch)
        return Parameter(name=snake(wire_name), type=kind, default=default, place="body", wire_name=wire_name)

    def type_of(self, schema: Mapping[str, Any], *, outside: bool) -> str:
        """Return a schema's type in Python; `outside`: in answers, where lists are tuples."""
        if "$ref" in schema:
            return self._named(_ref(schema), outside=outside)
        if "anyOf" in schema:
            kinds = [self.type_of(part, outside=outside) for part in schema["anyOf"]]
            return " | ".join(dict.fromkeys(kinds))
        allowed = schema.get("enum", [schema["const"]] if "const" in schema else [])
        if allowed and not outside:
            named = next((name for name, known in self.schemas.items() if known.get("enum") == allowed), None)
            if named:
                self.words.setdefault(named)
                return f"models.{named}"
            return f"Literal[{', '.join(json.dumps(value) for value in allowed)}]"
        return self._by_type(schema, outside=outside)

    def _by_type(self, schema: Mapping[str, Any], *, outside: bool) -> str:
        match schema.get("type"):
            case "array":
                item = self.type_of(schema["items"], outside=outside)
                return f"tuple[{item}, ...]" if outside else f"Sequence[{item}]"
            case "object":
                return f"Mapping[str, {self._values(schema, outside=outside)}]"
            case "string" if schema.get("format") == "date-time":
                return "datetime"
            case kind:
                scalars = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
                return scalars.get(str(kind), "Any")

    def _values(self, schema: Mapping[str, Any], *, outside: bool) -> str:
        patterns = schema.get("patternProperties")
        values = next(iter(patterns.values())) if patterns else schema.get("additionalProperties")
        return "Any" if values is None or values is True else self.type_of(values, outside=outside)

    def _named(self, name: str, *, outside: bool) -> str:
        schema = self.schemas[name]
        if "properties" not in schema:
            return self.type_of(schema, outside=outside)
        if not outside and schema.get("additionalProperties") is True:
            return "Mapping[str, Any]"
        known = self.answers if outside else self.nested
        for part in schema["properties"].values():  # a model stands after the models that it contains
            self.type_of(part, outside=outside)
        known.setdefault(name)
        return f"models.{model_name(name)}"


def model_name(schema: str) -> str:
    """Return the name of a schema's model."""
    return RENAMED.get(schema, schema.removesuffix("Document").removesuffix("Request"))


def _name(verb: str, path: str) -> str:
    first, *others = path.removeprefix("/api/v1/").strip("/").split("/")
    group = snake(first)
    if others and not others[-1].startswith("{"):
        return f"{group}.{snake(others[-1])}"
    return f"{group}.{VERBS[verb]}"


def _ref(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def or_unset(kind: str, *, keep_none: bool) -> str:
    """Return the type of a member that need not be sent."""
    if kind == "Any":
        return kind
    bare = kind.removesuffix(" | None")
    return f"{bare} | Unset | None" if keep_none and bare != kind else f"{bare} | Unset"


def or_none(kind: str) -> str:
    """Return the type of a value that may be None."""
    return kind if kind.endswith(" | None") or kind == "Any" else f"{kind} | None"
