"""Bugs that are put into the dispatcher on purpose.  Each breaks an invariant, and the checker must find it.

Each has a scenario in which it shows; without the bug, the same scenario breaks no invariant.
"""

import inspect
import textwrap
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dispatcher.platform import functions
from tests.simulation.fault_scenarios import Scenario
from tests.simulation.simulation_database import SimulationDatabase

LAYER = Path(functions.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one function, or of one statement that the module's functions use."""

    module: ModuleType
    name: str
    old: str
    new: str

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change it until the monkeypatch is undone."""
        original: Any = getattr(self.module, self.name)
        is_statement = isinstance(original, bytes)
        text = original.decode() if is_statement else textwrap.dedent(inspect.getsource(original))
        if self.old not in text:
            raise ValueError(f"{self.name} does not contain {self.old!r}")
        changed: Any = text.replace(self.old, self.new)
        if is_statement:
            changed = changed.encode()
        else:
            defined: dict[str, Any] = {}
            exec(compile(changed, f"<{self.name}, changed>", "exec"), vars(self.module), defined)  # noqa: S102 - our own code
            changed = defined[self.name]
        monkeypatch.setattr(self.module, self.name, changed)


@dataclass(frozen=True, slots=True)
class SqlEdit:
    """A change of functions in the database: of the file `<folder>/<name>.function.sql`."""

    name: str
    old: str
    new: str

    def apply(self, database: SimulationDatabase) -> None:
        """Create the file's functions with the change."""
        text = self._text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name} contains {text.count(self.old)} times {self.old!r}")
        self._create(database, text.replace(self.old, self.new))

    def undo(self, database: SimulationDatabase) -> None:
        """Create the file's functions as they are."""
        self._create(database, self._text())

    def _text(self) -> str:
        return (LAYER / f"{self.name}.function.sql").read_text()

    def _create(self, database: SimulationDatabase, text: str) -> None:
        replaced = text.replace("create function", "create or replace function").replace("{f}", functions.schema())
        database.observer.execute(replaced.encode())


class PlantedFault:
    """A bug, the invariant that it breaks, and the scenario in which it shows."""

    def __init__(self, name: str, breaks: str, shown_by: Callable[[Scenario], None], *edits: Edit | SqlEdit) -> None:
        self.name, self.breaks, self.shown_by, self.edits = name, breaks, shown_by, edits

    @contextmanager
    def planted(self, database: SimulationDatabase) -> Generator[None]:
        """Put the bug in for a while."""
        in_database = [edit for edit in self.edits if isinstance(edit, SqlEdit)]
        with pytest.MonkeyPatch.context() as monkeypatch:
            for edit in self.edits:
                if isinstance(edit, Edit):
                    edit.apply(monkeypatch)
            try:
                for edit in in_database:
                    edit.apply(database)
                yield
            finally:
                for edit in in_database:
                    edit.undo(database)
