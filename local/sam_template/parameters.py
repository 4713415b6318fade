"""The template's parameters, as the environment sets them for `make up`: QueueLimit is DISPATCHER_QUEUE_LIMIT."""

import math
import re
from collections.abc import Mapping
from typing import Any

from local.options import OptionError

OWN = {"DatabaseSecretArn"}
"""Parameters that functions get, but that `make up` sets itself, because it has its own database."""
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def variable(parameter: str) -> str:
    """Return the name of the variable that sets a parameter."""
    return f"DISPATCHER_{_CAPITAL.sub('_', parameter).upper()}"


def settable(template: Mapping[str, Any]) -> list[str]:
    """Return the parameters that functions get; all others, such as FrontDoor, have an effect only on AWS."""
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    holders = [template.get("Globals", {}).get("Function", {}), *(each.get("Properties", {}) for each in functions)]
    used = [value for each in holders for value in each.get("Environment", {}).get("Variables", {}).values()]
    return [name for name in template.get("Parameters", {}) if {"Ref": name} in used and name not in OWN]


def from_environment(template: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that the environment sets; an empty variable sets none.

    Raises OptionError for a parameter that means nothing on one machine, and for a value that CloudFormation would
    refuse, or that is a fraction where the default is none.
    """
    declared: Mapping[str, Mapping[str, Any]] = template.get("Parameters", {})
    given = {name: environment[variable(name)] for name in declared if environment.get(variable(name))}
    for name, text in given.items():
        if name not in settable(template):
            names = ", ".join(map(variable, settable(template)))
            raise OptionError(
                f"{variable(name)} is for AWS: {name} means nothing here.\nNext: unset it; there are {names}."
            )
        expected = _expected(declared[name], text)
        if expected:
            raise OptionError(f"{variable(name)}={text} is no {name}.\nNext: give {expected}.")
    return given


def _expected(declaration: Mapping[str, Any], text: str) -> str | None:
    """Return what the value should be, or None if it is valid."""
    allowed = [str(value) for value in declaration.get("AllowedValues", ())]
    if allowed:
        return None if text in allowed else f"one of {', '.join(allowed)}"
    pattern = declaration.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, text):
        return f"what matches {pattern}"
    return _expected_number(declaration, text) if declaration["Type"] == "Number" else None


def _expected_number(declaration: Mapping[str, Any], text: str) -> str | None:
    whole = isinstance(declaration.get("Default"), int)
    least, most = declaration.get("MinValue", -math.inf), declaration.get("MaxValue", math.inf)
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if least <= value <= most and math.isfinite(value):
        return None
    bounds = [f"{word} {bound}" for word, bound in (("from", least), ("to", most)) if math.isfinite(bound)]
    return " ".join(["a whole number" if whole else "a number", *bounds])
