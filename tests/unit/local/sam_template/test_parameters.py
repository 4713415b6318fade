"""The values that `make up` accepts for the template's parameters."""

import re
from pathlib import Path
from typing import Any

import pytest

from local.options import OptionError
from local.sam_template.intrinsics import read
from local.sam_template.parameters import from_environment, settable, variable

TEMPLATE: dict[str, Any] = read(Path(__file__).parents[4] / "template.yaml")
TOLD = {"Environment": {"Variables": {"NEW": {"Ref": "New"}}}}


def test_every_parameter_has_its_own_variable() -> None:
    """The name is in upper snake case, and differs from the variables of `make up` itself."""
    names = {variable(name) for name in TEMPLATE["Parameters"]}

    assert len(names) == len(TEMPLATE["Parameters"])
    assert {"DISPATCHER_QUEUE_LIMIT", "DISPATCHER_OIDC_ROLE_CLAIM", "DISPATCHER_LOG_LEVEL"} <= names
    assert not names & {f"DISPATCHER_{name}" for name in ("PORT", "HOME", "ADMIN_PASSWORD", "SWEEP_SECONDS", "URL")}


def test_a_set_variable_is_used_and_an_empty_one_is_not() -> None:
    """Other variables are ignored."""
    environment = {"DISPATCHER_QUEUE_LIMIT": "7", "DISPATCHER_LOG_LEVEL": "", "DISPATCHER_PORT": "0", "QueueLimit": "8"}

    assert from_environment(TEMPLATE, environment) == {"QueueLimit": "7"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("QUEUE_LIMIT", "many", "a whole number from 1"),
        ("QUEUE_LIMIT", "0", "a whole number from 1"),
        ("RETENTION_DAYS", "1.5", "a whole number from 1"),
        ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARN, ERROR"),
    ],
)
def test_a_bad_value_is_reported_with_the_expected_form(name: str, value: str, wanted: str) -> None:
    """Like the other settings."""
    with pytest.raises(OptionError) as caught:
        from_environment(TEMPLATE, {f"DISPATCHER_{name}": value})

    assert str(caught.value).startswith(f"DISPATCHER_{name}={value} is no ")
    assert f"\nNext: give {wanted}" in str(caught.value)


@pytest.mark.parametrize(
    ("declaration", "value", "wanted"),
    [
        ({"Type": "Number", "Default": 7, "MinValue": 1, "MaxValue": 35}, "36", "a whole number from 1 to 35"),
        ({"Type": "Number", "Default": 0.5, "MinValue": 0.5}, "nan", "a number from 0.5"),
        ({"Type": "String", "AllowedPattern": r"1[567]\.\d+"}, "9.6", r"what matches 1[567]\.\d+"),
    ],
)
def test_every_rule_of_cloudformation_is_applied(declaration: dict[str, Any], value: str, wanted: str) -> None:
    """Also those that no present parameter uses."""
    template = {"Parameters": {"New": declaration}, "Globals": {"Function": TOLD}, "Resources": {}}

    with pytest.raises(OptionError, match=f"DISPATCHER_NEW={value} is no New"):
        from_environment(template, {"DISPATCHER_NEW": value})
    with pytest.raises(OptionError, match=rf"give {re.escape(wanted)}\.$"):
        from_environment(template, {"DISPATCHER_NEW": value})


def test_a_parameter_for_aws_only_is_refused() -> None:
    """It would do nothing, or break the functions; the error lists the parameters that work."""
    assert {"QueueLimit", "OperatorRate", "AgentRate", "RetentionDays", "LogLevel", "OidcIssuer"} <= set(
        settable(TEMPLATE)
    )
    for name in ("FRONT_DOOR", "CONNECTIONS_URL", "DATABASE_SECRET_ARN", "FUNCTION_CONCURRENCY"):
        with pytest.raises(OptionError, match=rf"^DISPATCHER_{name} is for AWS: .*\nNext: .*DISPATCHER_QUEUE_LIMIT"):
            from_environment(TEMPLATE, {f"DISPATCHER_{name}": "1"})
