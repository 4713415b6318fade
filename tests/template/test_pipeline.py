"""The pipeline: who may deploy, and that its jobs use what the repository has."""

import json
import re
from fnmatch import fnmatch, fnmatchcase
from pathlib import Path
from typing import Any, cast

import yaml
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER
from moto.iam.aws_managed_policies import aws_managed_policies_data

from local.sam_template.intrinsics import read
from tests.template.conftest import Template
from tests.template.transform import transformed

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


def test_a_deployment_makes_only_bounded_roles_of_its_own_stack(stacks: dict[str, Template]) -> None:
    """Otherwise whoever may deploy could take the rights of every role of the account, or give a function every right."""
    role = stacks["pipeline"].resources["CloudFormationRole"]["Properties"]
    statements = role["Policies"][0]["PolicyDocument"]["Statement"]
    of_roles = [each for each in statements if any(action.startswith("iam:") for action in _every(each["Action"]))]
    bounded, harmless, passing, linked, refused = of_roles

    assert [each["Resource"]["Fn::Sub"].rpartition(":role/")[2] for each in of_roles] == [
        *["${StackName}-*"] * 3,
        "aws-service-role/*",
        "${AWS::StackName}-*",
    ]
    assert [each["Effect"] for each in of_roles] == [*["Allow"] * 4, "Deny"]
    assert (refused["Action"], refused.get("Condition")) == ("iam:*", None)  # the pipeline's own roles
    assert bounded["Condition"] == {"StringEquals": {"iam:PermissionsBoundary": {"Ref": "Boundary"}}}
    assert set(passing["Condition"]["StringEquals"]) == {"iam:PassedToService"}
    assert (passing["Action"], linked["Action"]) == ("iam:PassRole", "iam:CreateServiceLinkedRole")
    without = set(harmless["Action"])
    gains = ("iam:Create", "iam:Put", "iam:Attach", "iam:Add", "iam:PassRole", "iam:DeleteRolePermissionsBoundary")
    assert not [action for action in without if "*" in action or action.startswith(gains)]


def test_the_boundary_admits_what_the_roles_do_and_no_way_to_more(stacks: dict[str, Template]) -> None:
    """A role that needs a right beyond it would fail at work; one that may change roles would have no boundary."""
    boundary = stacks["pipeline"].resources["Boundary"]["Properties"]["PolicyDocument"]["Statement"][0]["Action"]
    template = Template(resources=transformed({"GradualReleases": "true"})["Resources"])
    used = {action for name in OF_FUNCTIONS for action in managed(name)} - NEEDLESS
    for stack in (template, stacks["database"], stacks["backup"]):
        for name, role in stack.of_type("AWS::IAM::Role").items():
            assert role["PermissionsBoundary"]["Fn::If"][:2] == ["HasBoundary", {"Ref": "PermissionsBoundary"}], name
            for policy in role.get("Policies", []):
                for statement in _every(policy["PolicyDocument"]["Statement"]):
                    used |= set(_actions(statement.get("Fn::If", [0, statement])[1]["Action"]))

    assert "secretsmanager:GetSecretValue" in used
    assert {action for action in used if not any(fnmatch(action, each) for each in boundary)} == set()
    assert not [each for each in boundary if each.startswith(("iam:", "sts:", "*", "lambda:*", "organizations:"))]


OF_FUNCTIONS = (
    "AWSCodeDeployRoleForLambda",
    "AWSLambdaBasicExecutionRole",
    "AWSLambdaSQSQueueExecutionRole",
    "AWSLambdaVPCAccessExecutionRole",
)
"""AWS's own policies of the functions' roles and of CodeDeploy's."""
NEEDLESS = {"s3:GetObject", "s3:GetObjectVersion", "sns:Publish"}
"""CodeDeploy's rights for revisions in S3 and for triggers, which a deployment by CloudFormation does not have."""


def managed(name: str) -> set[str]:
    """Return the actions that a policy of AWS's own allows."""
    policies: dict[str, Any] = json.loads(aws_managed_policies_data)
    return {action for each in policies[name]["Document"]["Statement"] for action in _every(each["Action"])}


NOT_NEEDED = {
    "backup-storage:Mount": "IAM knows no such action",
    "ec2:AllocateIpamPoolCidr": "the network has a block of Amazon's own",
    "elasticfilesystem:DescribeMountTargets": "no function has a file system",
    "firehose:TagDeliveryStream": "no log group leads to Firehose",
    "iam:DeleteRolePermissionsBoundary": "nobody takes the boundary away",
    "iam:ListRoles": "no database is in a directory's domain",
    "kms:Encrypt": "no function has a key of its own for its environment",
    "s3:GetObjectVersion": "the code's address names no version",
    "s3:REST.PUT.OBJECT": "no log group leads to S3",
    "s3files:ListMountTargets": "no function has a file system",
}
"""What AWS lists for a kind of resource, for properties that no resource of this stack has."""


def test_cloudformation_may_make_every_resource_of_the_templates(
    stacks: dict[str, Template], template: Template
) -> None:
    """A kind of resource needs all rights that AWS lists for it, or a deployment by the pipeline fails half-way."""
    role = stacks["pipeline"].resources["CloudFormationRole"]["Properties"]
    allowed = [
        action.lower()
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
        for action in _every(statement["Action"])
    ]
    made = {
        resource["Type"]
        for each in (template, *(stack for name, stack in stacks.items() if name != "pipeline"))
        for resource in each.resources.values()
        if resource["Type"].startswith("AWS::")
    }
    needed: set[str] = set()
    for kind in made:
        schema = cast("dict[str, Any]", PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema)
        for step in ("create", "read", "update", "delete"):
            needed |= set(schema["handlers"].get(step, {}).get("permissions", []))

    missing = {action for action in needed if not any(fnmatchcase(action.lower(), each) for each in allowed)}
    assert missing == set(NOT_NEEDED)


def test_no_code_expires_that_a_rollback_needs(stacks: dict[str, Template]) -> None:
    """A function that changed last a year ago goes back to the code of then, which must still be in the bucket."""
    rules = stacks["pipeline"].resources["Artifacts"]["Properties"]["LifecycleConfiguration"]["Rules"]

    assert [set(rule) - {"Id", "Status"} for rule in rules] == [{"NoncurrentVersionExpiration"}]


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


def test_the_workflows_name_the_commit_of_each_action_and_keep_no_credentials() -> None:
    """A tag can be moved to other code, which would run with the rights of the job."""
    for path in WORKFLOWS.glob("*.yml"):
        text = path.read_text()
        used = re.findall(r"uses: (?!\./)(.*)", text)
        assert [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", each)] == [], path.name
        assert text.count("uses: actions/checkout@") == text.count("persist-credentials: false"), path.name
        assert "pull_request_target" not in text
        scripts = [
            step.get("run", "") for job in yaml.safe_load(text)["jobs"].values() for step in job.get("steps", [])
        ]
        assert not [script for script in scripts if "${{" in script], path.name


def test_nothing_is_installed_with_credentials_of_aws_in_its_environment() -> None:
    """A package that runs code when it is installed would find them there; the job's right to log in it has all the same."""
    steps = job()["steps"]
    names = [step.get("uses", step.get("run", "")) for step in steps]
    login = next(place for place, name in enumerate(names) if name.startswith("aws-actions/"))

    assert "make .venv-sam/.sam .venv/.local" in names[:login]


def _every(value: Any) -> list[Any]:
    items: list[Any] = cast("Any", value) if isinstance(value, list) else [value]
    return items


def _actions(value: Any) -> list[str]:
    """Return actions, with both sides of a condition."""
    if isinstance(value, dict):
        _, *sides = cast("dict[str, list[str]]", value)["Fn::If"]
        return sides
    return _every(value)
