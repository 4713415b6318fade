"""The reference of problem types: each error class that callers see, with what to do about it."""

import inspect

from dispatcher import errors
from dispatcher.errors import DispatcherError


def classes() -> list[type[DispatcherError]]:
    """Return the error classes, by status and name."""
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, DispatcherError)]
    return sorted(found, key=lambda each: (each.status, each.slug))


def next_step(error: type[DispatcherError]) -> str:
    """Return what the caller can do: the docstring of the class after its first line."""
    _, _, rest = inspect.cleandoc(error.__doc__ or "").partition("\n\n")
    return " ".join(rest.split())


def render() -> str:
    """Return the page as text."""
    lines = [
        "# Problems",
        "",
        "Written by `make generated` from `dispatcher/errors.py`. Every error is a problem document (RFC 9457) with `type`,",
        "`title`, `status` and `detail`; `detail` says what is wrong with this request. A `type` never changes its meaning.",
        "",
        "| type `urn:agent-command-dispatcher:problem:…` | status | means | what to do |",
        "|---|---|---|---|",
        *(f"| `{each.slug}` | {each.status} | {each.title()} | {next_step(each)} |" for each in classes()),
        "",
    ]
    return "\n".join(lines)
