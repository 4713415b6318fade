"""Restore the database of a deployment on AWS: the commands of docs/deploy.md, in their order.

    python -m local.tools.restore STACK --to 2026-11-26T03:00:00Z [--concurrency 50] [--event-bus] [--run before|after]
    python -m local.tools.restore STACK --region eu-west-1 --vault dispatcher [--domain dispatcher.example.com]

The first restores a moment, the second goes on in another region, from the newest copy in a vault there.  It prints the
commands; `--run` runs those of a moment one after another and stops at the first that fails.  The copy of the rows between the
two clusters happens in their network, so the last step before the functions start again is printed only.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.sam_template.intrinsics import read

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
OF_DEPLOYMENTS = {"MigrateFunction", "DeployFunction", "ReleaseCheckFunction", "ReleaseGateFunction"}
Command = tuple[str, ...]


def serving(*, event_bus: bool = False) -> dict[str, int | None]:
    """Return the ends of the names of the functions that serve, each with its own number of reserved instances.

    None: FunctionConcurrency is its number, 0: it has none.  `event_bus`: the stack has the function `publisher` too.
    """
    found: dict[str, int | None] = {}
    for logical, each in read(TEMPLATE)["Resources"].items():
        if each["Type"] != "AWS::Serverless::Function" or logical in OF_DEPLOYMENTS:
            continue
        if "Condition" in each and not event_bus:
            continue
        name: str = each["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        match each["Properties"].get("ReservedConcurrentExecutions"):
            case {"Fn::If": ["HasConcurrency", int(number), _]}:
                found[name] = number
            case {"Ref": "AWS::NoValue"}:
                found[name] = 0
            case _:
                found[name] = None
    return found


def stop(stack: str, *, event_bus: bool = False) -> Iterator[Command]:
    """Yield what keeps every function that serves from running: agents and operators are refused, and try again."""
    for name in serving(event_bus=event_bus):
        yield (
            *("aws", "lambda", "put-function-concurrency", "--function-name", f"{stack}-{name}"),
            *("--reserved-concurrent-executions", "0"),
        )


def restore(stack: str, moment: str) -> Iterator[Command]:
    """Yield what makes a cluster beside the real one, as it was at a moment."""
    restored = f"{stack}-restored"
    yield (
        *("aws", "rds", "restore-db-cluster-to-point-in-time", "--source-db-cluster-identifier", stack),
        *("--db-cluster-identifier", restored, "--restore-to-time", moment, "--copy-tags-to-snapshot"),
        *("--db-subnet-group-name", _of(stack, "DBSubnetGroup")),
        *("--vpc-security-group-ids", _of(stack, "VpcSecurityGroups[0].VpcSecurityGroupId")),
        *("--serverless-v2-scaling-configuration", "MinCapacity=2,MaxCapacity=16"),
    )
    yield (
        *("aws", "rds", "create-db-instance", "--db-instance-identifier", f"{restored}-1"),
        *("--db-cluster-identifier", restored, "--db-instance-class", "db.serverless", "--engine", "aurora-postgresql"),
    )
    yield ("aws", "rds", "wait", "db-instance-available", "--db-instance-identifier", f"{restored}-1")
    yield (
        *("aws", "rds", "modify-db-cluster", "--db-cluster-identifier", restored),
        *("--manage-master-user-password", "--apply-immediately"),
    )


def _of(stack: str, member: str) -> str:
    """Return what the shell is to insert: a member of the real cluster's description."""
    query = f"DBClusters[0].{member}"
    return f"$(aws rds describe-db-clusters --db-cluster-identifier {stack} --query '{query}' --output text)"


def start(stack: str, concurrency: int, *, event_bus: bool = False) -> Iterator[Command]:
    """Yield what migrates the restored rows, and lets the functions run again."""
    yield ("aws", "lambda", "invoke", "--function-name", f"{stack}-migrate", "/dev/stdout")
    for name, own in serving(event_bus=event_bus).items():
        function = ("--function-name", f"{stack}-{name}")
        limit = (concurrency if own is None else own) if concurrency else 0
        if limit:
            number = ("--reserved-concurrent-executions", str(limit))
            yield ("aws", "lambda", "put-function-concurrency", *function, *number)
        else:
            yield ("aws", "lambda", "delete-function-concurrency", *function)
    yield ("aws", "lambda", "invoke", "--function-name", f"{stack}-audit:live", "/dev/stdout")


def copy(stack: str) -> str:
    """Return the command that copies the rows, for a shell in the stack's subnets."""
    return (
        f"pg_dump -Fc -d 'host=<endpoint of {stack}-restored> user=dispatcher_owner dbname=dispatcher' | pg_restore --clean"
        f" --if-exists --no-owner --exit-on-error -d 'host=<endpoint of {stack}> user=dispatcher_owner dbname=dispatcher'"
    )


def elsewhere(stack: str, region: str, vault: str, domain: str = "") -> Iterator[str]:
    """Yield the lines for a shell that make the stack in another region, from the newest copy in a vault there.

    CloudFront is in no region: the distribution of the lost one still has `domain`, and no other could get it.
    """
    owner = f"Key=tag-key,Values=webhook-key-of Key=tag-value,Values={stack}"
    secret = f"aws secretsmanager list-secrets --region {region} --filters {owner}"
    made = f"--region {region} --stack-name {stack}"
    yield (
        f"SNAPSHOT=$(aws backup list-recovery-points-by-backup-vault --region {region} --backup-vault-name {vault}"
        " --by-resource-type Aurora --query 'sort_by(RecoveryPoints, &CreationDate)[-1].RecoveryPointArn' --output text)"
    )
    yield f"KEY=$({secret} --query 'SecretList[0].ARN' --output text)  # the replica: the new stack has no key yet"
    if domain:
        having = f"DistributionList.Items[?Aliases.Items && contains(Aliases.Items, '{domain}')].Id"
        yield f'OLD=$(aws cloudfront list-distributions --query "{having}" --output text)'
        yield "aws cloudfront get-distribution-config --id $OLD > old.json"
        yield (
            "aws cloudfront update-distribution --id $OLD --if-match $(jq -r .ETag old.json)"
            " --distribution-config \"$(jq '.DistributionConfig | .Aliases = {Quantity: 0}' old.json)\""
        )
    yield f"export AWS_REGION={region}"
    yield "make build deploy CONFIG=prod DATABASE_SNAPSHOT=$SNAPSHOT"
    yield (
        f"aws secretsmanager put-secret-value --region {region} --secret-id $(aws cloudformation describe-stack-resource"
        f" {made} --logical-resource-id WebhookKey --query StackResourceDetail.PhysicalResourceId --output text)"
        f" --secret-string $(aws secretsmanager get-secret-value --region {region} --secret-id $KEY --query SecretString"
        " --output text)"
    )
    yield f"aws lambda invoke --region {region} --function-name {stack}-audit:live /dev/stdout"
    yield (
        f"aws cloudformation describe-stacks {made}"
        " --query \"Stacks[0].Outputs[?OutputKey=='FrontDoorTarget'].OutputValue\" --output text"
        "  # the new target of the DNS record"
    )


def shown(command: Sequence[str]) -> str:
    """Return a command as a line for a shell; what the shell is to insert stays as it is."""
    return " ".join(f'"{word}"' if word.startswith("$(") else shlex.quote(word) for word in command)


def main() -> int:
    """Print the commands, or run those before the copy or those after it."""
    parser = argparse.ArgumentParser(prog="python -m local.tools.restore")
    parser.add_argument("stack")
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--to", help="the moment to restore, as 2026-11-26T03:00:00Z")
    goal.add_argument("--region", help="the region to go on in")
    parser.add_argument("--vault", default="dispatcher", help="the vault of AWS Backup in that region")
    parser.add_argument("--concurrency", type=int, default=0, help="FunctionConcurrency of the stack")
    parser.add_argument("--event-bus", action="store_true", help="the stack has EventBusName")
    parser.add_argument("--run", choices=["before", "after"], help="run the commands before or after the copy")
    parser.add_argument("--domain", default="", help="DomainName of the stack")
    given = parser.parse_args()
    if given.region:
        sys.stdout.write("\n".join(elsewhere(given.stack, given.region, given.vault, given.domain)) + "\n")
        return 0
    before = [*stop(given.stack, event_bus=given.event_bus), *restore(given.stack, given.to)]
    after = list(start(given.stack, given.concurrency, event_bus=given.event_bus))
    if given.run:
        for command in before if given.run == "before" else after:
            sys.stdout.write(f"{shown(command)}\n")
            subprocess.run(shown(command), shell=True, check=True)  # noqa: S602 - the lines that it prints
        return 0
    lines = [*map(shown, before), f"# In the stack's subnets:\n{copy(given.stack)}", *map(shown, after)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
