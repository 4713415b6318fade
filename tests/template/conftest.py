"""The template as CloudFormation gets it, and the nested stacks."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.sam_template.intrinsics import read
from tests.template.transform import transformed

Resources = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement of the policy of one function's role."""

    function: str
    actions: tuple[Any, ...]
    resources: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The resources that AWS would create."""

    resources: Resources

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of the resources of a type, by name."""
        return {
            name: dict(resource.get("Properties", {}))
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        """The functions' properties."""
        return self.of_type("AWS::Lambda::Function")

    def environment(self, function: str) -> dict[str, Any]:
        """Return a function's variables."""
        variables: dict[str, Any] = self.functions[function]["Environment"]["Variables"]
        return variables

    def statements(self, function: str) -> Iterator[Statement]:
        """Yield the statements of a function's role, with every condition both true and false."""
        role = self.of_type("AWS::IAM::Role")[f"{function}Role"]
        for policy in role.get("Policies", ()):
            for statement in _every(policy["PolicyDocument"]["Statement"]):
                yield Statement(
                    function=function,
                    actions=tuple(_every(statement["Action"])),
                    resources=tuple(_every(statement["Resource"])),
                )


def _every(value: Any) -> Iterator[Any]:
    """Yield the items of a list, or a single item, from both branches of every condition."""
    match value:
        case [*items]:
            for item in items:
                yield from _every(item)
        case {"Fn::If": [_, then, otherwise]}:
            yield from _every([then, otherwise])
        case {"Ref": "AWS::NoValue"}:
            return
        case _:
            yield value


@pytest.fixture(scope="session")
def template() -> Template:
    """The template after SAM's transform."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    return Template(resources=transformed()["Resources"])


@pytest.fixture(scope="session")
def stacks() -> dict[str, Template]:
    """The stacks within the stack, by the name of their file."""
    folder = Path(__file__).resolve().parents[2] / "stacks"
    return {path.stem: Template(resources=read(path)["Resources"]) for path in folder.glob("*.yaml")}
