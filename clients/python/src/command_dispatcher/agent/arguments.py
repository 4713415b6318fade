"""The arguments of a handler, filled from a command's payload: by pydantic where it is installed, else as they are in JSON."""

import importlib
import inspect
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, cast

from .command import Command
from .errors import AgentError, Reject

_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a handler wants: its command, the payload as one model, or fields of the payload by name."""

    wants_command: bool
    model: tuple[str, Any] | None
    fields: tuple[tuple[str, Any, Any], ...]
    """Name, annotation and default of each field."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Arguments":
        """Read a handler's signature; raises AgentError for one that no command can fill."""
        try:
            parameters = list(inspect.signature(function).parameters.values())
            hints = typing.get_type_hints(function)
        except (TypeError, ValueError, NameError) as error:
            raise AgentError(f"The handler {function!r} cannot be read: {error}.") from error
        if any(each.kind in {each.VAR_POSITIONAL, each.VAR_KEYWORD} for each in parameters):
            raise AgentError(f"The handler {function!r} must name its arguments, without * and **.")
        wants_command = bool(parameters) and hints.get(parameters[0].name, Command) in {Command, Any, object}
        rest = parameters[1:] if wants_command else parameters
        if len(rest) == 1 and _is_model(hints.get(rest[0].name)):
            return cls(wants_command, (rest[0].name, hints[rest[0].name]), ())
        if any(each.kind is each.POSITIONAL_ONLY for each in rest):
            raise AgentError(
                f"The handler {function!r} takes fields of the payload by name: remove the / in its signature."
            )
        fields = tuple((each.name, hints.get(each.name, Any), each.default) for each in rest)
        return cls(wants_command, None, fields)

    def bind(self, command: Command) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments for a command; raises Reject where its payload does not fit."""
        positional = (command,) if self.wants_command else ()
        if self.model is not None:
            name, annotation = self.model
            return positional, {name: _validate(annotation, command.payload, "payload")}
        if not self.fields:
            return positional, {}
        if not isinstance(command.payload, dict):
            raise Reject("the payload must be an object")
        payload = cast("dict[str, Any]", command.payload)
        missing = [name for name, _, default in self.fields if default is _EMPTY and name not in payload]
        if missing:
            raise Reject(f"the payload has no {', '.join(missing)}")
        return positional, {
            name: _validate(annotation, payload[name], f"payload.{name}")
            for name, annotation, _ in self.fields
            if name in payload
        }


@cache
def _pydantic() -> ModuleType | None:
    """Import pydantic when a handler first needs it: that takes longer than everything else."""
    try:
        return importlib.import_module("pydantic")
    except ModuleNotFoundError:  # the extra `models` is not installed
        return None


def _is_model(annotation: Any) -> bool:
    loaded = sys.modules.get("pydantic")  # who has a model has imported it
    return loaded is not None and isinstance(annotation, type) and issubclass(annotation, loaded.BaseModel)


def _validate(annotation: Any, value: Any, place: str) -> Any:
    pydantic = None if annotation is Any else _pydantic()
    if pydantic is None:
        return value
    try:
        return pydantic.TypeAdapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        problems = [
            f"{'.'.join([place, *map(str, each['loc'])])}: {each['msg']}"
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise Reject("; ".join(problems)) from None
