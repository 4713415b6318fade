"""The OpenAPI document: one of all functions' routes, which the service serves at /openapi.json."""

import importlib.util
import inspect
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ("sessions", "commands", "agents", "operators", "pages")
SECURITY = {"operator": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
PUBLIC = frozenset({"/healthz", "/api/v1/auth/login", "/api/v1/agents/register"})
PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail")} | {"status": {"type": "integer"}},
    "required": ["type", "title", "detail"],  # agents that register get no `status`: see api/agent_problems.py
}


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
        paths |= part["paths"]
        schemas |= part.get("components", {}).get("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in paths.items():
        for operation in operations.values():
            operation["responses"] = {
                status: response for status, response in operation["responses"].items() if status != "422"
            } | {
                "default": {
                    "description": "A problem",
                    "content": {"application/problem+json": {"schema": _PROBLEM_REF}},
                }
            }
            operation["responses"].get("204", {}).pop("content", None)
            if path not in PUBLIC:
                operation["security"] = [{"operator": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Agent Command Dispatcher",
            "version": "1",
            "description": "Command any agent at any time; a command for an offline agent waits and reaches it, in order,"
            " as soon as it connects.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": SECURITY},
    }


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
