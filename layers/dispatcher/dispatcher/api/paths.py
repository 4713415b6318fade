"""The paths of the API and their methods, of all functions: API Gateway gives a function more than its own paths.

`make generated` writes paths.json from the functions' routes.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A path with the names of its parameters in braces, and the methods that it has."""

    template: str
    methods: frozenset[str]

    @property
    def allow(self) -> str:
        """The value of the header Allow."""
        return ", ".join(sorted({*self.methods, "HEAD"} if "GET" in self.methods else self.methods))


class Paths:
    """Finds the path that a request means; a literal segment goes before a parameter."""

    def __init__(self, table: Mapping[str, Iterable[str]]) -> None:
        paths = [Path(template=template, methods=frozenset(methods)) for template, methods in table.items()]
        self._literal = {path.template: path for path in paths if "{" not in path.template}
        self._parametric: dict[int, list[tuple[list[str], Path]]] = {}  # by the number of segments
        for path in sorted(paths, key=lambda path: path.template.split("/")):
            if "{" in path.template:
                segments = path.template.split("/")
                self._parametric.setdefault(len(segments), []).append((segments, path))

    def find(self, path: str) -> Path | None:
        """Return the path that a request means; None if there is none."""
        if path in self._literal:
            return self._literal[path]
        asked = path.split("/")
        for wanted, found in self._parametric.get(len(asked), ()):
            if all(map(_fits, wanted, asked)):
                return found
        return None


def _fits(wanted: str, asked: str) -> bool:
    return asked == wanted or (bool(asked) and wanted.startswith("{"))


@cache
def of_service() -> Paths:
    """Return the paths of all functions."""
    return Paths(json.loads((resources.files("dispatcher") / "api" / "paths.json").read_text()))
