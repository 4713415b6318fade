"""Convert the words of a command line without pydantic, which Typer would load: that takes longer than all the rest."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, get_args, get_origin

import typer

Convert = Callable[[str], Any]


class Conversion:
    """Converts the value of one parameter; Typer asks it instead of a converter that it would build."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value for the function of the command; raises BadParameter."""
        is_list = param.multiple or param.nargs == -1
        if value is None:
            return () if is_list else None
        try:
            return [self._one(item) for item in value] if is_list else self._one(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None

    def _one(self, value: Any) -> Any:
        return self._convert(value) if isinstance(value, str) and not isinstance(value, Enum) else value


def convert_quickly(command: Any, ctx: Any) -> None:
    """Give a command's parameters their conversions; what is not known here stays with Typer."""
    for parameter in command.get_params(ctx):
        descriptor = getattr(parameter, "type_descriptor", None)
        convert = None if descriptor is None else _converter(descriptor.annotation, descriptor.parameter_info)
        if convert is not None:
            parameter._runtime_param = Conversion(convert)  # noqa: SLF001 - without it Typer converts, more slowly


def _converter(kind: Any, info: Any) -> Convert | None:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is list:
        return _converter(arguments[0], info)
    if origin is Literal:
        return _choice({str(value): value for value in arguments})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _choice({str(item.value): item for item in kind})
    if kind is int:
        return _number(info.min, info.max)
    known: dict[Any, Convert] = {str: str, bool: _choice({"true": True, "false": False})}
    return known.get(kind)


def _choice(choices: dict[str, Any]) -> Convert:
    def convert(text: str) -> Any:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(map(repr, choices))}.")
        return choices[text]

    return convert


def _number(least: int | None, most: int | None) -> Convert:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number.") from None
        if least is not None and number < least:
            raise ValueError(f"{number} is less than {least}.")
        if most is not None and number > most:
            raise ValueError(f"{number} is more than {most}.")
        return number

    return convert
