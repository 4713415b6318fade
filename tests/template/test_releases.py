"""Releases: new versions serve behind an alias, get traffic step by step, and lose it again if an alarm rings."""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from local.sam_template.intrinsics import read
from tests.template.conftest import Template
from tests.template.transform import transformed

ROOT = Path(__file__).resolve().parents[2]
# They serve no traffic: a deployment runs them, always in their newest code.
OF_DEPLOYMENTS = {"MigrateFunction", "DeployFunction", "ReleaseCheckFunction", "ReleaseGateFunction"}


@pytest.fixture(scope="module")
def gradual() -> Template:
    """The template of a deployment with GradualReleases."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    return Template(resources=transformed({"GradualReleases": "true", "Release": "r7"})["Resources"])


def references(value: Any) -> Iterator[str]:
    """Yield the names of the resources that a value refers to."""
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [name, *_]}:
            yield name
        case {"Fn::Sub": text}:
            words: str = text if isinstance(text, str) else text[0]
            yield from re.findall(r"\$\{([A-Za-z0-9]+)", words)
            if not isinstance(text, str):
                yield from references(text[1])
        case dict():
            yield from references(list(cast("dict[str, Any]", value).values()))
        case [*items]:
            for each in items:
                yield from references(each)
        case _:
            return


def test_every_function_that_serves_has_an_alias_and_is_released_gradually(gradual: Template) -> None:
    """With the check before its traffic, and with the alarm about its own errors."""
    served = {f"{name}Aliaslive" for name in set(gradual.functions) - OF_DEPLOYMENTS}
    assert set(gradual.of_type("AWS::Lambda::Alias")) == served
    for name in served:
        policy = gradual.resources[name]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
        assert policy["BeforeAllowTrafficHook"] == {"Ref": "ReleaseGateFunction"}
        function = name.removesuffix("FunctionAliaslive")
        group = gradual.resources[policy["DeploymentGroupName"]["Ref"]]["Properties"]
        watched = [alarm["Name"]["Fn::GetAtt"][1] for alarm in group["AlarmConfiguration"]["Alarms"]]
        assert f"Outputs.{function}Errors" in watched
        assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]


def test_nobody_calls_a_function_past_its_alias(template: Template) -> None:
    """A call without the alias runs the newest code, whatever CodeDeploy decided."""
    past = {
        name: reference
        for name, resource in template.resources.items()
        for reference in references({key: value for key, value in resource.items() if key != "DependsOn"})
        if reference in set(template.functions) - OF_DEPLOYMENTS
        and resource["Type"] not in {"AWS::Lambda::Version", "AWS::Lambda::Alias", "AWS::Lambda::EventInvokeConfig"}
    }

    assert past == {}
    qualifiers = [each["Qualifier"] for each in template.of_type("AWS::Lambda::EventInvokeConfig").values()]
    assert set(qualifiers) == {"live"}


def test_a_new_name_of_a_release_publishes_every_function_anew(template: Template, gradual: Template) -> None:
    """SAM publishes a version only when a name in the template changes; code in the layer changes none."""
    before, after = template.of_type("AWS::Lambda::Version"), gradual.of_type("AWS::Lambda::Version")

    assert len(before) == len(after) == len(set(template.functions) - OF_DEPLOYMENTS)
    assert not set(before) & set(after)


def test_a_setting_that_changes_without_a_new_release_is_noticed(template: Template) -> None:
    """The migration knows each parameter that a function gets in its environment; `deploy` compares them."""
    parameters = read(ROOT / "template.yaml")["Parameters"]
    used = {
        name
        for function in set(template.functions) - OF_DEPLOYMENTS
        for name in references(template.environment(function))
        if name in parameters
    }
    # Through the conditions HasFrontDoor and HasDirectDatabase, and the network: a version keeps all of them.
    others = {"FrontDoor", "DatabaseProxy", "SubnetIds", "SecurityGroupIds"}

    compared = {name for each in template.resources["Migration"]["Properties"]["Settings"] for name in references(each)}
    assert compared == used | others


def test_the_hook_has_the_name_that_codedeploy_may_invoke(gradual: Template) -> None:
    """AWS's own policy of CodeDeploy names CodeDeployHook_*, and a name has at most 64 characters."""
    name = gradual.functions["ReleaseGateFunction"]["FunctionName"]["Fn::Sub"]

    assert name == "CodeDeployHook_${AWS::StackName}"
    assert len(name.replace("${AWS::StackName}", "s" * 40)) <= 64


def test_no_resource_waits_for_itself(gradual: Template) -> None:
    """An alarm that a deployment of a function needs must not need a function; update policies count too."""
    graph = {
        name: {each for each in references(dict(resource)) if each in gradual.resources} | set(_depends(resource))
        for name, resource in gradual.resources.items()
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " → ".join([*path, name])
        if name not in done:
            for each in graph[name]:
                visit(each, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def _depends(resource: Mapping[str, Any]) -> list[str]:
    depends: str | list[str] = resource.get("DependsOn", [])
    return [depends] if isinstance(depends, str) else depends


def test_codedeploy_waits_for_the_alarm_of_a_bad_release(stacks: dict[str, Template]) -> None:
    """The alarms ring within the five minutes of the shortest canary: two bad minutes are enough."""
    for alarm in stacks["release_alarms"].of_type("AWS::CloudWatch::Alarm").values():
        periods = [each["MetricStat"]["Period"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
        assert max(periods or [alarm["Period"]]) * alarm["DatapointsToAlarm"] < 240
        assert alarm["TreatMissingData"] == "notBreaching"


def test_the_release_alarms_refer_to_nothing_and_are_all_known_outside(stacks: dict[str, Template]) -> None:
    """A deployment group names an alarm by an output of their stack."""
    outputs = read(ROOT / "stacks/release_alarms.yaml")["Outputs"]

    assert set(outputs) == set(stacks["release_alarms"].of_type("AWS::CloudWatch::Alarm"))
    assert all(output["Value"] == {"Ref": name} for name, output in outputs.items())
