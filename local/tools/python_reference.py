"""The reference of the Python library, written from its public names and their docstrings."""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType

from command_dispatcher import agent, client, testing
from command_dispatcher.client import models, sync_operations

HEAD = """# Reference of the Python library

Written by `make generated` from the docstrings. [Write an agent](../agents.md) explains the SDK, [the command
line](../cli.md#from-python) the HTTP client. `Agent`, `Reject`, `Retry`, `Client` and `AsyncClient` can be imported from
`command_dispatcher` itself.
"""
_MADE_BY_THE_LIBRARY = frozenset({"Command", "Sent"})
_GROUP = re.compile(r"self\.(\w+) = (\w+)\(transport\)")


def render() -> str:
    """Write the agent SDK, its test double, the client, its errors and the values that it returns."""
    return "\n".join(
        [
            HEAD,
            *_module("Agents", agent),
            *_module("Tests of agents", testing),
            *_module("The HTTP client", client),
            "`AsyncClient` and `AsyncSent` have the same methods to await, and lists to read with `async for`.",
            "",
            *_operations(),
            *_errors(),
            *_values(),
        ]
    )


def _module(title: str, module: ModuleType) -> Iterator[str]:
    yield from (f"## {title}: `{module.__name__}`", "", _text(module.__doc__), "")
    for name in module.__all__:
        each = getattr(module, name)
        if inspect.isclass(each) and not name.startswith("Async") and not issubclass(each, client.DispatcherError):
            yield from _class(each)


def _class(each: type) -> Iterator[str]:
    node = _parse(each)
    functions = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    start = next(
        (part for part in functions if part.name == "__init__" and each.__name__ not in _MADE_BY_THE_LIBRARY), None
    )
    yield from (f"### `{each.__name__}`", "")
    if start is not None:
        yield from ("```python", _signature(each.__name__, start), "```", "")
    yield from (_text(ast.get_docstring(node)), "")
    if start is not None and ast.get_docstring(start):
        yield from (_text(ast.get_docstring(start)), "")
    entries = [f"- `{name}`: {text}" for name, text in _attributes(node)]
    entries += [_entry(part) for part in functions if not part.name.startswith("_") and ast.get_docstring(part)]
    yield from ([*entries, ""] if entries else [])


def _operations() -> Iterator[str]:
    yield from (
        "## The operations of a client",
        "",
        "Each method is an operation of [the HTTP API](operations.md).",
        "",
    )
    source = inspect.getsource(sync_operations.Operations)
    for attribute, name in _GROUP.findall(source):
        yield from (f"### `client.{attribute}`", "")
        node = _parse(getattr(sync_operations, name))
        yield from (_entry(part) for part in node.body if isinstance(part, ast.FunctionDef))
        yield ""
    yield from ("### `client` itself", "")
    node = _parse(sync_operations.Operations)
    yield from (_entry(part) for part in node.body if isinstance(part, ast.FunctionDef) and ast.get_docstring(part))
    yield ""


def _errors() -> Iterator[str]:
    yield from ("## Exceptions of the client", "", "| exception | is a | means |", "|---|---|---|")
    for name in client.__all__:
        each = getattr(client, name)
        if inspect.isclass(each) and issubclass(each, client.DispatcherError):
            yield f"| `{name}` | `{each.__base__.__name__ if each.__base__ else ''}` | {_text(each.__doc__)} |"
    yield ""


def _values() -> Iterator[str]:
    yield from (f"## Values: `{models.__name__}`", "", "| value | is | fields |", "|---|---|---|")
    for name, each in vars(models).items():
        if inspect.isclass(each) and each.__module__ == models.__name__:
            fields = ", ".join(f"`{field}`" for field in inspect.get_annotations(each))
            yield f"| `{name}` | {_line(each.__doc__)} | {fields} |"
    yield ""


def _attributes(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield each public attribute that a string describes, of the class or of what `__init__` sets."""
    bodies = [node.body]
    bodies += [part.body for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    for body in bodies:
        for statement, text in itertools.pairwise(body):
            name = _assigned(statement)
            if (
                name
                and not name.startswith("_")
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                yield name, _line(str(text.value.value))


def _assigned(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target).removeprefix("self.")
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0]).removeprefix("self.")
    return None


def _entry(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    decorators = {ast.unparse(each) for each in function.decorator_list}
    shown = function.name if decorators & {"property", "cached_property"} else _signature(function.name, function)
    prefix = "await " if isinstance(function, ast.AsyncFunctionDef) else ""
    return f"- `{prefix}{shown}`: {_line(ast.get_docstring(function))}"


def _signature(name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Write names and defaults; the types are in the code, where editors find them."""
    arguments = function.args
    words = [each.arg for each in [*arguments.posonlyargs, *arguments.args]]
    optional = len(arguments.defaults)
    for place, default in enumerate(arguments.defaults, start=len(words) - optional):
        words[place] += f"={ast.unparse(default)}"
    words = [word for word in words if word not in {"self", "cls"}]
    if arguments.kwonlyargs:
        words.append("*")
    for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        words.append(each.arg if value is None else f"{each.arg}={ast.unparse(value)}")
    if arguments.kwarg:
        words.append(f"**{arguments.kwarg.arg}")
    return f"{name}({', '.join(words)})"


def _parse(each: type) -> ast.ClassDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(each))).body[0]
    if not isinstance(node, ast.ClassDef):
        raise TypeError(f"{each} has no class statement")
    return node


def _text(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def _line(docstring: str | None) -> str:
    return " ".join(_text(docstring).split())
