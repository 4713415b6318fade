"""The parameters of `make deploy`."""

import pytest

from local.sam_template.intrinsics import read
from local.tools.release import TEMPLATE, overrides, signed, stack


def test_a_deployment_gets_the_parameters_of_its_environment_and_a_name() -> None:
    """`sam deploy` replaces the whole list by what is given."""
    prod = overrides("prod", "2611260501").split()

    assert "FrontDoor=true" in prod
    assert prod[-1] == "Release=2611260501"
    assert overrides("local", "7") == "Release=7"


@pytest.mark.parametrize(("environment", "name"), [("none", "7"), ("prod", "2026-11-26"), ("prod", "12345678901")])
def test_what_the_template_would_refuse_is_refused_before_the_deployment(environment: str, name: str) -> None:
    """SAM would cut a longer name, and two releases could get the same one."""
    with pytest.raises(ValueError, match=r"samconfig\.toml has no|is no name"):
        overrides(environment, name)


def test_the_pipeline_knows_the_stack_and_what_is_to_be_signed() -> None:
    """Lambda refuses a function or a layer that is forgotten."""
    code = {"AWS::Serverless::Function", "AWS::Serverless::LayerVersion"}
    resources = read(TEMPLATE)["Resources"]

    assert (stack("default"), stack("prod")) == ("agent-command-dispatcher-dev", "agent-command-dispatcher")
    assert signed("P").split() == [f"{name}=P" for name, each in resources.items() if each["Type"] in code]
