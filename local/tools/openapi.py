"""The OpenAPI document: one of all functions' routes, which the service serves at /openapi.json."""

import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Any

from local.tools import openapi_examples

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("sessions", "commands", "agents", "events", "webhooks", "operators", "pages")
SECURITY = {"operator": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
TAGS = {
    "commands": ("Commands", "Submit, read, list, cancel and redrive commands."),
    "agents": ("Agents", "Create, register, approve and delete agents; their keys and enrolment tokens."),
    "sessions": ("Sessions", "StreamSpace's sessions: everything that is done to one is a command."),
    "webhooks": ("Webhooks", "Who is told of events by signed HTTPS requests."),
    "events": ("Events", "The change feed: what happened to commands and agents, in order."),
    "operators": ("Operators", "Log-ins, operators' accounts, API tokens, the audit log."),
    "pages": ("Service", "The state of the service."),
}
"""The tag of each function's operations, and what it is about."""
PUBLIC = frozenset({"/healthz", "/api/v1/auth/login", "/api/v1/agents/register"})
PUBLIC_OPERATIONS = frozenset(
    {("post", "/api/v1/auth/session"), ("get", "/api/v1/auth/provider"), ("post", "/api/v1/auth/provider")}
)
PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail")} | {"status": {"type": "integer"}},
    "required": ["type", "title", "detail"],  # agents that register get no `status`: see api/agent_problems.py
}


def paths() -> str:
    """Return the paths of all functions and their methods, as the text of their file."""
    table: dict[str, list[str]] = {}
    for name in FUNCTIONS:
        for method, path in _load(name).api.operations:
            table.setdefault(path, []).append(method)
    return json.dumps({path: sorted(table[path]) for path in sorted(table)}, indent=1) + "\n"


def document() -> dict[str, Any]:
    """Build the document from the functions' own resolvers."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"Problem": PROBLEM}
    for name in FUNCTIONS:
        function = _load(name)
        part = function.api.get_openapi_schema(title="Agent Command Dispatcher", version="1")
        part = json.loads(part.model_dump_json(by_alias=True, exclude_none=True))
        for path, operations in part["paths"].items():
            for method, operation in operations.items():
                operation.update(_said_of(function, path, method, operation["operationId"]))
                operation["tags"] = [TAGS[name][0]]
                _complete(operation, is_public=path in PUBLIC or (method, path) in PUBLIC_OPERATIONS)
        paths |= part["paths"]
        schemas |= part.get("components", {}).get("schemas", {})
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, example in openapi_examples.BODIES.items():
        schemas[name]["examples"] = [example]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agent Command Dispatcher",
            "version": "1",
            "description": "Command any agent at any time; a command for an offline agent waits and reaches it, in order,"
            " as soon as it connects.",
        },
        "tags": [{"name": name, "description": said} for name, said in TAGS.values()],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": SECURITY},
    }


def _complete(operation: dict[str, Any], *, is_public: bool) -> None:
    """Put in what Powertools does not know: examples of paths, problems, who may call."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] in openapi_examples.PARAMETERS:
            parameter["example"] = openapi_examples.PARAMETERS[parameter["name"]]
    responses = {status: response for status, response in operation["responses"].items() if status != "422"}
    responses.get("204", {}).pop("content", None)
    problem = {"description": "A problem", "content": {"application/problem+json": {"schema": _PROBLEM_REF}}}
    operation["responses"] = responses | {"default": problem}
    if not is_public:
        operation["security"] = [{"operator": []}]


_PROBLEM_REF = {"$ref": "#/components/schemas/Problem"}


def render() -> str:
    """Return the document as the text of its file."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _said_of(function: Any, path: str, method: str, operation_id: str) -> dict[str, str]:
    """Return an operation's summary and description: the docstring of the function whose name begins its id."""
    said = inspect.getdoc(getattr(function, operation_id.removesuffix(re.sub(r"\W", "_", f"{path}_{method}")))) or ""
    summary, _, description = said.partition("\n\n")
    return {
        "summary": summary.replace("\n", " ").removesuffix("."),
        **({"description": description} if description else {}),
    }


def _load(function: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"functions_{function}", ROOT / "functions" / function / "app.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(function)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
