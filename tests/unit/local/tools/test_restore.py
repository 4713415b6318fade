"""The commands of a restore, in their order."""

import subprocess
from pathlib import Path

from local.tools.restore import copy, elsewhere, restore, serving, shown, start, stop


def test_nothing_serves_while_the_rows_are_replaced() -> None:
    """Each function that serves is stopped first and started last; those of deployments run meanwhile."""
    stopped = [command[4] for command in stop("acd")]
    began, *started, audited = list(start("acd", 50))

    assert stopped == [f"acd-{name}" for name in serving()]
    assert "acd-migrate" not in stopped
    assert began[4] == "acd-migrate"
    assert [command[4] for command in started] == stopped
    limits = {command[4]: command[6] for command in started if command[2] == "put-function-concurrency"}
    assert (limits["acd-commands"], limits["acd-sweeper"]) == ("50", "10")
    assert "acd-webhook" not in limits
    assert "acd-publisher" in [command[4] for command in stop("acd", event_bus=True)]
    assert audited[4] == "acd-audit:live"


def test_the_documents_say_how_much_concurrency_prod_reserves(root: Path) -> None:
    """With 100 that AWS keeps unreserved."""
    own = serving(event_bus=True)
    ordinary, fixed = list(own.values()).count(None), sum(number or 0 for number in own.values())

    text = " ".join((root / "docs/deploy.md").read_text().split())
    assert f"reserves {ordinary} × 50 and {fixed} more, so it needs {ordinary * 50 + fixed + 100}." in text


def test_a_stack_without_a_limit_gets_none() -> None:
    """A reservation would take concurrency from the rest of the account."""
    assert {command[2] for command in list(start("acd", 0))[1:-1]} == {"delete-function-concurrency"}


def test_the_restored_cluster_stands_beside_the_real_one() -> None:
    """In its network, and with a password of its own; the real one is never restored over."""
    commands = [shown(command) for command in restore("acd", "2026-11-26T03:00:00Z")]

    assert "--source-db-cluster-identifier acd --db-cluster-identifier acd-restored" in commands[0]
    assert "--restore-to-time 2026-11-26T03:00:00Z" in commands[0]
    assert (
        "\"$(aws rds describe-db-clusters --db-cluster-identifier acd --query 'DBClusters[0].DBSubnetGroup'"
        in commands[0]
    )
    assert all("acd-restored" in command for command in commands)
    assert copy("acd").index("acd-restored") < copy("acd").index("pg_restore")


def test_in_another_region_the_stack_is_made_from_the_newest_copy(root: Path) -> None:
    """With the key of webhooks of before, which is read before the new stack has one of the same name."""
    lines = list(elsewhere("acd", "eu-west-1", "copies"))

    copied, key, _, deployed, keyed, audited, named = lines
    assert "--backup-vault-name copies" in copied
    assert "&CreationDate)[-1]" in copied
    assert deployed.endswith("DATABASE_SNAPSHOT=$SNAPSHOT")
    assert "DatabaseSnapshot=$(DATABASE_SNAPSHOT)" in (root / "Makefile").read_text()
    assert key.startswith("KEY=$(")
    assert "Values=webhook-key-of Key=tag-value,Values=acd" in key
    assert "Key: webhook-key-of, Value: !Ref AWS::StackName" in (root / "template.yaml").read_text()
    assert "--secret-id $KEY" in keyed
    assert "acd-audit:live" in audited
    assert "FrontDoorTarget" in named
    assert all("--region eu-west-1" in line for line in (copied, key, keyed, audited, named))


def test_the_domain_is_taken_from_the_distribution_of_the_lost_region_first() -> None:
    """CloudFront refuses a name that another distribution has; the deployment would fail."""
    lines = list(elsewhere("acd", "eu-west-1", "copies", "acd.example.com"))
    taken = next(place for place, line in enumerate(lines) if "update-distribution" in line)
    deployed = next(place for place, line in enumerate(lines) if "make build deploy" in line)

    assert "'acd.example.com'" in lines[taken - 2]
    assert taken < deployed


def test_the_lines_for_another_region_are_a_script_that_a_shell_can_read() -> None:
    """Quotes and insertions match."""
    script = "\n".join(elsewhere("acd", "eu-west-1", "copies", "acd.example.com"))

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False, capture_output=True).stderr == ""
