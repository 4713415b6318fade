"""The pipeline: who may deploy, and that its jobs use what the repository has."""

import re
from pathlib import Path
from typing import Any

import yaml

from local.sam_template.intrinsics import read
from tests.template.conftest import Template

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


def job() -> dict[str, Any]:
    """Return the job that deploys to an environment."""
    found: dict[str, Any] = yaml.safe_load((WORKFLOWS / "deploy_to.yml").read_text())["jobs"]["deploy"]
    return found


def test_only_the_jobs_of_one_environment_of_one_repository_may_deploy(stacks: dict[str, Template]) -> None:
    """Not another branch or a pull request: the environment on GitHub has the rules about those."""
    [statement] = stacks["pipeline"].resources["PipelineRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]

    assert statement["Condition"]["StringEquals"] == {
        "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
        "token.actions.githubusercontent.com:sub": {"Fn::Sub": "repo:${Repository}:environment:${Environment}"},
    }


def test_a_deployment_makes_roles_of_its_own_stack_only(stacks: dict[str, Template]) -> None:
    """Otherwise whoever may deploy could take the rights of every role of the account."""
    role = stacks["pipeline"].resources["CloudFormationRole"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    of_roles = [each for each in statements if any(action.startswith("iam:") for action in _every(each["Action"]))]

    assert [each["Resource"]["Fn::Sub"].rpartition(":role/")[2] for each in of_roles] == [
        "${StackName}-*",
        "aws-service-role/*",
    ]


def test_cloudformation_may_make_every_resource_of_the_templates(
    stacks: dict[str, Template], template: Template
) -> None:
    """A new kind of resource needs its right here, or the next deployment by the pipeline fails."""
    role = stacks["pipeline"].resources["CloudFormationRole"]["Properties"]
    allowed = {
        action.partition(":")[0]
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]
        for action in _every(statement["Action"])
    }
    services = {"ApiGatewayV2": "apigateway", "CloudFormation": "cloudformation", "CloudWatch": "cloudwatch"}
    made = {
        resource["Type"].split("::")[1]
        for each in (template, *(stack for name, stack in stacks.items() if name != "pipeline"))
        for resource in each.resources.values()
        if resource["Type"].startswith("AWS::")
    }

    assert {services.get(service, service.lower()) for service in made} <= allowed


def test_the_jobs_use_outputs_and_targets_that_exist() -> None:
    """A renamed output or target would be noticed in the middle of a deployment."""
    steps = job()["steps"]
    text = "\n".join(step.get("run", "") for step in steps)
    outputs = read(ROOT / "template.yaml")["Outputs"]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert set(re.findall(r"\$\(output (\w+)\)", text)) <= set(outputs)
    assert set(re.findall(r"make ([a-z-]+)", text)) <= set(targets)
    variables = set(re.findall(r"vars\.(\w+)", (WORKFLOWS / "deploy_to.yml").read_text()))
    documented = (ROOT / "docs" / "deploy.md").read_text()
    assert {name for name in variables if f"`{name}`" not in documented} == set()


def _every(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
