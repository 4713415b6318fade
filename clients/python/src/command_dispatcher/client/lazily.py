"""A module that is loaded when something of it is used."""

from importlib import import_module
from typing import Any


class Lazily:
    """Stands for a module; loading the models takes a sixth of the start of a command, and a list needs none of them."""

    def __init__(self, name: str) -> None:
        self._module = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)
