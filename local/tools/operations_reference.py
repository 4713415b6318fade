"""The reference of the HTTP API, written from the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

HEAD = """# Operations of the HTTP API

Written by `make generated` from the OpenAPI document, which every running service has at `/openapi.json`; `/docs` there
can send requests. [The rules](http.md) hold for all of them, [the problems](problems.md) are their errors. An operation
needs the token of an operator, unless it says otherwise.
"""
_LIMITS = {"minLength": "at least {} characters", "maxLength": "at most {} characters", "minimum": "at least {:g}",
           "maximum": "at most {:g}", "maxItems": "at most {} items", "default": "{} if not given"}  # fmt: skip


def render(document: dict[str, Any]) -> str:
    """Write every operation, by tag, and then every form of a body or an answer."""
    lines = [line for tag in document["tags"] for line in _tag(tag, document)]
    lines += ["## Forms", ""]
    lines += [line for name, schema in document["components"]["schemas"].items() for line in _form(name, schema)]
    return "\n".join([HEAD, *lines])


def _tag(tag: dict[str, str], document: dict[str, Any]) -> Iterator[str]:
    yield from (f"## {tag['name']}", "", tag["description"], "")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag["name"] in operation["tags"]:
                yield from _operation(f"{method.upper()} {path}", operation)


def _operation(title: str, operation: dict[str, Any]) -> Iterator[str]:
    sentences = [operation["summary"] + ".", *operation.get("description", "").split()]
    if not operation.get("security"):
        sentences.append("No operator's token is needed.")
    yield from (f"### `{title}`", "", " ".join(sentences), "")
    for each in operation.get("parameters", []):
        if each["in"] != "path":
            yield f"- `{each['name']}` ({each['in']}): {_described(each['schema']).replace(' or null', '')}"
    if "requestBody" in operation:
        yield f"- body: {_content(operation['requestBody'])}"
    for status, answer in operation["responses"].items():
        if status != "default":
            yield f"- answer {status}: {_content(answer)}"
    yield ""


def _content(holder: dict[str, Any]) -> str:
    schemas = [each["schema"] for each in holder.get("content", {}).values() if each.get("schema")]
    return _type(schemas[0]) if schemas else "nothing"


def _form(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield from (f"### {name}", "", " ".join(schema.get("description", "").split()), "")
    if "properties" in schema:
        required = set(schema.get("required", []))
        yield from ("| member | is |", "|---|---|")
        for member, each in schema["properties"].items():
            yield f"| `{member}`{'' if member in required else ' (optional)'} | {_cell(_described(each))} |"
    else:
        yield f"It is {_described({**schema, 'description': ''})}."
    yield ""


def _described(schema: dict[str, Any]) -> str:
    """Write a type with its limits and its description."""
    forms: list[dict[str, Any]] = [each for each in schema.get("anyOf", []) if each.get("type") != "null"]
    limited = {**forms[0], **schema} if forms else schema
    limits = [text.format(limited[key]) for key, text in _LIMITS.items() if limited.get(key) is not None]
    limits = ["not empty" if limit == "at least 1 characters" else limit for limit in limits]
    sentence = " ".join(schema.get("description", "").split())
    return ". ".join(filter(None, [", ".join([_type(schema), *limits]), sentence]))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any JSON")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
