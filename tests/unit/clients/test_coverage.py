"""The client covers the API, and the command line covers the client."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest

from command_dispatcher.client import Client
from command_dispatcher.client.core import Request
from command_dispatcher.client.options import SendOptions
from command_dispatcher.client.sync_transport import Group
from local.tools import cli_reference
from local.tools.openapi_methods import EXCLUDED

NOT_AT_THE_COMMAND_LINE = {
    "agents.events": "it is for the timeline of the operators' page; the feed has the same events",
    "commands.submit": "send, which also takes files, builds the request itself",
    "commands.submit_many": "send",
    "health": "check says more",
    "webhooks.change": "webhooks change, which sends only what was given",
}


class Recorded(Exception):
    """Carries the request instead of an answer."""

    def __init__(self, sent: Request) -> None:
        self.sent = sent


class Recorder:
    """In the place of the transport."""

    def run(self, sent: Request, timeout: float | None = None) -> Any:
        """Raise what would have been sent."""
        del timeout
        raise Recorded(sent)


def _methods(client: Any) -> Iterator[tuple[str, Any]]:
    groups = cast("dict[str, Any]", vars(client))
    for group_name, group in groups.items():
        if isinstance(group, Group):
            for name, method in inspect.getmembers(group, inspect.ismethod):
                if not name.startswith("_"):
                    yield f"{group_name}.{name}", method
    for name in ("health", "overview", "check_for_loss", "log_in"):
        yield name, getattr(client, name)


def _sent(method: Any) -> Request:
    """Call a method with a value for each argument, and return its request."""
    parameters = inspect.signature(method).parameters.values()
    ids = [f"<{item.name}>" for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    named = {
        item.name: {"x": 1} if item.name == "document" else "x" for item in parameters if item.kind is item.KEYWORD_ONLY
    }
    try:
        list(method(*ids, **named))
    except Recorded as recorded:
        return recorded.sent
    raise AssertionError(f"{method} sends nothing")


@pytest.fixture
def requests() -> Iterator[dict[tuple[str, str], Request]]:
    """Every request that the client can make, by method and path."""
    with Client("http://127.0.0.1:1", "t") as client:
        for group in [client, *(item for item in vars(client).values() if isinstance(item, Group))]:
            vars(group)["_transport"] = Recorder()
        made = [_sent(method) for _, method in _methods(client)]
        yield {(sent.method.lower(), re.sub("%3C(.*?)%3E", r"{\1}", sent.path)): sent for sent in made}


@pytest.fixture
def document(root: Path) -> dict[str, Any]:
    """The API as it is."""
    found: dict[str, Any] = json.loads((root / "layers/dispatcher/dispatcher/api/openapi.json").read_text())
    return found


def test_the_client_has_every_operation_and_every_parameter(
    requests: dict[tuple[str, str], Request], document: dict[str, Any]
) -> None:
    """A new operation, query parameter, member or key of the API that the client lacks is named here."""
    wanted = {
        (verb, path): _promised(operation, document)
        for path, operations in document["paths"].items()
        for verb, operation in operations.items()
        if (verb, path) not in EXCLUDED
    }
    assert {name: _of(sent) for name, sent in requests.items()} == wanted


def _promised(operation: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    places = {item["name"]: item["in"] for item in operation.get("parameters", ())}
    return {
        "query": {name for name, place in places.items() if place == "query"},
        "keyed": "idempotency-key" in places,
        "members": _members(operation.get("requestBody"), document),
    }


def _members(body: Any, document: dict[str, Any]) -> set[str] | None:
    if not body:
        return None
    schema = next(iter(body["content"].values()))["schema"]
    schema = next((part for part in schema.get("anyOf", ()) if "$ref" in part), schema)
    found = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    is_whole = found.get("type") == "array" or found.get("additionalProperties") is True
    return None if is_whole else set(found["properties"])


def _of(sent: Request) -> dict[str, Any]:
    body: Any = json.loads(sent.body) if sent.body else None
    return {
        "query": {name for name, _ in sent.query},
        "keyed": sent.idempotency_key is not None,
        "members": None if body in (None, "x", {"x": 1}) else set(body),
    }


def test_every_operation_is_at_the_command_line(root: Path) -> None:
    """What the client can do, a person can do from a shell; exceptions have a reason."""
    sources = root / "clients/python/src/command_dispatcher/cli"
    text = "".join(path.read_text() for path in sorted(sources.glob("*.py")))
    with Client("http://127.0.0.1:1", "t") as client:
        missing = {name for name, _ in _methods(client) if not re.search(rf"client\.{re.escape(name)}\b", text)}
    assert missing == set(NOT_AT_THE_COMMAND_LINE)


def test_send_takes_every_option_of_a_submission() -> None:
    """An option that the API gains is missing here until SendOptions has it."""
    with Client("http://127.0.0.1:1", "t") as client:
        named = set(inspect.signature(client.commands.submit).parameters)
    assert set(get_type_hints(SendOptions)) == named - {"agent_id", "action", "payload", "idempotency_key"}


def test_every_command_and_option_says_what_it_does() -> None:
    """An option without a word of help is one that nobody can use."""
    silent = {
        f"{name} {each.name}"
        for name, command in cli_reference.commands()
        for each in command.params
        if each.param_type_name == "option" and not each.help
    }
    assert silent == set()
    assert {name for name, command in cli_reference.commands() if not command.help} == set()
