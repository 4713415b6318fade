"""The HTTP client's models and operations, written from the OpenAPI document, and its sync client from the async one."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.tools.openapi_methods import Method, Reader, model_name, or_none, or_unset, snake

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients/python/src/command_dispatcher/client"
WITHOUT_ASYNCIO = (
    (r"import asyncio\n", ""),
    (r"asyncio\.sleep", "time.sleep"),
    (r"\basync_", "sync_"),
    (r"\basync (?=def|for)", ""),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"__a(?=enter__|exit__)", "__"),
    (r"for event in page\.events:\n\s+yield event", "yield from page.events"),
    (r"many tasks", "many threads"),
    (
        r'"""The client for programs with asyncio."""',
        '"""The client for programs without asyncio.  Written by `make generated` from async_client.py."""',
    ),
)
"""What is different in the sync client."""
HEADER = '"""{said}  Written by `make generated` from the OpenAPI document."""\n\n'


def render(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the modules by their names."""
    reader = Reader(document)
    methods = reader.methods()
    return {
        "models.py": _formatted(_models(reader)),
        "sync_operations.py": _formatted(_operations(methods, is_async=False)),
        "async_operations.py": _formatted(_operations(methods, is_async=True)),
        "sync_client.py": _formatted(_sync_client()),
    }


def _sync_client() -> str:
    """Return the async client without asyncio."""
    text = (CLIENT / "async_client.py").read_text(encoding="utf-8")
    for pattern, words in WITHOUT_ASYNCIO:
        text, count = re.subn(pattern, words, text)
        assert count, pattern  # noqa: S101 - what is replaced is there
    return text


def _models(reader: Reader) -> str:
    lines = [
        HEADER.format(said="The values that the service takes and returns, frozen and typed."),
        "from collections.abc import Mapping, Sequence\n",
        "from dataclasses import dataclass\nfrom datetime import datetime\nfrom typing import Any, Literal, TypeAlias\n\n",
        "from command_dispatcher.client.core import UNSET, Unset\n",
        "from command_dispatcher.client.decoding import Model\n\n",
    ]
    lines += [_words(name, reader.schemas[name]) for name in reader.words]
    lines += [_model(reader, name, is_answer=True) for name in reader.answers]
    lines += [_model(reader, name, is_answer=False) for name in reader.nested]
    return "".join(lines)


def _words(name: str, schema: Mapping[str, Any]) -> str:
    words = ", ".join(json.dumps(word) for word in schema["enum"])
    return f"{name}: TypeAlias = Literal[{words}]\n{_docstring(schema['description'], 0)}\n\n"


def _model(reader: Reader, name: str, *, is_answer: bool) -> str:
    schema = reader.schemas[name]
    base = "(Model)" if is_answer else ""
    lines = [
        "@dataclass(frozen=True, slots=True, kw_only=True)\n",
        f"class {model_name(name)}{base}:\n",
        f"    {_docstring(schema.get('description', name), 4)}\n\n",
    ]
    for wire_name, part in schema["properties"].items():
        kind = reader.type_of(part, outside=is_answer).replace("models.", "")
        default = ""
        if wire_name not in schema.get("required", ()):
            if not is_answer:
                kind, default = or_unset(kind, keep_none=False), " = UNSET"
            elif part.get("default") not in {None, ""}:
                default = f" = {part['default']!r}"
            else:
                kind, default = or_none(kind), " = None"
        lines.append(f"    {snake(wire_name)}: {kind}{default}\n")
        if part.get("description"):
            lines.append(f"    {_docstring(textwrap.fill(part['description'], 110), 4)}\n")
    return "".join(lines) + "\n\n"


def _operations(methods: list[Method], *, is_async: bool) -> str:
    prefix, module = ("Async", "async") if is_async else ("", "sync")
    groups = sorted({method.group for method in methods if method.group})
    body: list[str] = []
    for group in groups:
        body.append(f"class {_class_name(group, prefix)}({prefix}Group):\n    {_docstring(_about(group), 4)}\n\n")
        body += [_render(method, is_async=is_async) for method in methods if method.group == group]
        body.append("\n")
    body.append(f"class {prefix}Operations({prefix}Group):\n    {_docstring('Every operation of the API.', 4)}\n\n")
    body.append(f"    def __init__(self, transport: {prefix}Transport) -> None:\n        super().__init__(transport)\n")
    body += [f"        self.{group} = {_class_name(group, prefix)}(transport)\n" for group in groups]
    body.append("\n")
    body += [_render(method, is_async=is_async) for method in methods if not method.group]
    return "".join(
        [
            HEADER.format(said="The operations of the API, as methods" + (" to await." if is_async else ".")),
            "from collections.abc import Mapping, Sequence\nfrom datetime import datetime\n",
            "from typing import TYPE_CHECKING, Any, Literal\n\n",
            "from command_dispatcher.client.core import UNSET, Unset, members, request\n",
            "from command_dispatcher.client.lazily import Lazily\n",
            f"from command_dispatcher.client.{module}_transport import {prefix}Group, {prefix}Pages, {prefix}Transport\n",
            "\nif TYPE_CHECKING:\n    from command_dispatcher.client import models\n",
            'else:\n    models = Lazily("command_dispatcher.client.models")\n',
            "\n\n",
            *body,
        ]
    )


def _render(method: Method, *, is_async: bool) -> str:
    positional = [item for item in method.parameters if item.place == "path"]
    named = [item for item in method.parameters if item.place != "path"]
    required = [item for item in named if item.default is None]
    optional = [item for item in named if item.default is not None]
    arguments = ["self", *(f"{item.name}: {_annotation(item.type)}" for item in positional)]
    if named:
        arguments.append("*")
        arguments += [f"{item.name}: {_annotation(item.type)}" for item in required]
        arguments += [f"{item.name}: {_annotation(item.type)} = {item.default}" for item in optional]
    sent = _request(method)
    call = f"{'await ' if is_async else ''}self._run({sent})"
    prefix, keyword, result = "Async" if is_async else "", "async def" if is_async else "def", method.result
    if method.plural:
        keyword, result = "def", f"{prefix}Pages[{method.result}]"
        decode = "dict" if method.result.startswith("Mapping") else f"lambda item: {method.result}.of(item)"
        body = f'return self._pages("{method.plural}", {decode}, {sent})'
    elif method.result == "None":
        body = call
    elif " | " in method.result:
        kinds = [kind.removeprefix("models.") for kind in method.result.split(" | ")]
        body = f"found = {call}\n        return {_either(kinds)}"
    elif method.result.startswith("models."):
        body = f"return {method.result}.of({call})"
    else:
        body = f"found: {method.result} = {call}\n        return found"
    return (
        f"    {keyword} {method.name}({', '.join(arguments)}) -> {_annotation(result)}:\n"
        f"        {_docstring(method.said, 8)}\n        {body}\n\n"
    )


def _annotation(kind: str) -> str:
    # The models are loaded when they are used.
    return f'"{kind}"' if "models." in kind else kind


def _either(kinds: list[str]) -> str:
    # Only the stop of a session answers with either of two: a command has an id of its own.
    first, second = sorted(kinds)
    return f'models.{first}.of(found) if "commandId" in found else models.{second}.of(found)'


def _request(method: Method) -> str:
    ids = [item.name for item in method.parameters if item.place == "path"]
    parts = [json.dumps(method.verb), json.dumps(re.sub(r"\{\w+\}", "{}", method.path)), *ids]
    query = [item for item in method.parameters if item.place == "query"]
    if query:
        parts.append("query={" + ", ".join(f"{json.dumps(item.wire_name)}: {item.name}" for item in query) + "}")
    whole = [item for item in method.parameters if item.place == "whole"]
    members = [item for item in method.parameters if item.place == "body"]
    if whole:
        parts.append(f"body={whole[0].name}")
    elif members:
        parts.append("body=members(" + ", ".join(f"{item.name}={item.name}" for item in members) + ")")
    if any(item.place == "header" for item in method.parameters):
        parts.append("idempotency_key=idempotency_key, keyed=True")
    return f"request({', '.join(parts)})"


def _class_name(group: str, prefix: str) -> str:
    return prefix + "".join(word.capitalize() for word in group.split("_"))


def _about(group: str) -> str:
    return f"Operations on {group.replace('_', ' ')}."


def _docstring(text: str, indent: int) -> str:
    first, _, rest = text.strip().partition("\n")
    first = first if first.endswith((".", "!", "?")) else f"{first}."
    if not rest.strip():
        return f'"""{first}"""'
    pad = " " * indent
    lines = [line.strip() for line in rest.strip().splitlines()]
    return f'"""{first}\n\n' + "\n".join(f"{pad}{line}" if line else "" for line in lines) + f'\n{pad}"""'


def _formatted(text: str) -> str:
    for arguments in (("check", "--select", "I,F401", "--fix", "--quiet"), ("format", "--quiet")):
        command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", "generated.py", "-"]
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return text
