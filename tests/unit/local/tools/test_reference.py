"""The reference of the API is complete: problems, examples, tags."""

import re
from typing import Any

import pytest
from pydantic import TypeAdapter

from dispatcher.api import (
    agent_schemas,
    command_schemas,
    enrolment_schemas,
    operator_schemas,
    session_schemas,
    template_schemas,
)
from local.tools import openapi, openapi_examples, problems


def test_each_problem_says_what_to_do() -> None:
    """Its type is its own, and its title is one line."""
    classes = problems.classes()

    assert len({each.uri() for each in classes}) == len(classes) > 20
    assert all(re.fullmatch(r"[A-Z].{10,80}", each.title()) for each in classes)
    assert [each.__name__ for each in classes if len(problems.next_step(each)) < 20] == []


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return openapi.document()


def test_each_operation_has_a_tag_and_each_parameter_of_a_path_an_example(document: dict[str, Any]) -> None:
    """Otherwise a reader finds nothing, and "Try it out" asks for nonsense."""
    operations = [each for path in document["paths"].values() for each in path.values()]
    bare = [
        (operation["operationId"], parameter["name"])
        for operation in operations
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "path" and "example" not in parameter
    ]

    assert [operation["operationId"] for operation in operations if not operation["tags"]] == []
    assert bare == []


def test_each_request_body_has_an_example_that_the_service_accepts(document: dict[str, Any]) -> None:
    """The pattern of a field would give `xF6R{<eM[h` as an action."""
    names = set(
        re.findall(r"'#/components/schemas/(\w+)'", str([_bodies(path) for path in document["paths"].values()]))
    )
    modules = (
        agent_schemas,
        command_schemas,
        enrolment_schemas,
        operator_schemas,
        session_schemas,
        template_schemas,
    )

    assert names - openapi_examples.BODIES.keys() == set()
    for name in names:
        model = next((getattr(module, name) for module in modules if hasattr(module, name)), None)
        if model is not None:
            assert TypeAdapter[Any](model).validate_python(openapi_examples.BODIES[name])


def _bodies(path: dict[str, Any]) -> list[Any]:
    return [operation.get("requestBody") for operation in path.values()]
