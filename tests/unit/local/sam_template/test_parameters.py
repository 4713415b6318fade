"""What `make up` takes for the template's parameters."""

import re
from pathlib import Path
from typing import Any

import pytest

from local.options import OptionError
from local.sam_template.intrinsics import read
from local.sam_template.parameters import from_environment, settable, variable

TEMPLATE: dict[str, Any] = read(Path(__file__).parents[4] / "template.yaml")
TOLD = {"Environment": {"Variables": {"NEW": {"Ref": "New"}}}}


def test_every_parameter_has_a_variable_of_its_own_and_none_of_the_settings() -> None:
    """Named in upper snake case."""
    names = {variable(name) for name in TEMPLATE["Parameters"]}

    assert len(names) == len(TEMPLATE["Parameters"])
    assert {"DISPATCHER_QUEUE_LIMIT", "DISPATCHER_OIDC_ROLE_CLAIM", "DISPATCHER_LOG_LEVEL"} <= names
    assert not names & {f"DISPATCHER_{name}" for name in ("PORT", "HOME", "ADMIN_PASSWORD", "SWEEP_SECONDS", "URL")}


def test_what_is_set_is_taken_and_what_is_empty_is_not() -> None:
    """Other variables are none of its business."""
    environment = {"DISPATCHER_QUEUE_LIMIT": "7", "DISPATCHER_LOG_LEVEL": "", "DISPATCHER_PORT": "0", "QueueLimit": "8"}

    assert from_environment(TEMPLATE, environment) == {"QueueLimit": "7"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("QUEUE_LIMIT", "many", "a whole number from 1"),
        ("QUEUE_LIMIT", "0", "a whole number from 1"),
        ("RETENTION_DAYS", "1.5", "a whole number from 1"),
        ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
    ],
)
def test_a_bad_value_is_named_with_what_is_wanted(name: str, value: str, wanted: str) -> None:
    """As the other settings are."""
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
def test_every_rule_of_cloudformation_counts(declaration: dict[str, Any], value: str, wanted: str) -> None:
    """Also those that no parameter of today's has."""
    template = {"Parameters": {"New": declaration}, "Globals": {"Function": TOLD}, "Resources": {}}

    with pytest.raises(OptionError, match=f"DISPATCHER_NEW={value} is no New"):
        from_environment(template, {"DISPATCHER_NEW": value})
    with pytest.raises(OptionError, match=rf"give {re.escape(wanted)}\.$"):
        from_environment(template, {"DISPATCHER_NEW": value})


def test_what_only_aws_has_is_refused() -> None:
    """Rather than that it does nothing, or breaks the functions; what there is instead is told."""
    assert {"QueueLimit", "OperatorRate", "AgentRate", "RetentionDays", "LogLevel", "OidcIssuer"} <= set(
        settable(TEMPLATE)
    )
    for name in ("FRONT_DOOR", "CONNECTIONS_URL", "DATABASE_SECRET_ARN", "FUNCTION_CONCURRENCY"):
        with pytest.raises(OptionError, match=rf"^DISPATCHER_{name} is for AWS: .*\nNext: .*DISPATCHER_QUEUE_LIMIT"):
            from_environment(TEMPLATE, {f"DISPATCHER_{name}": "1"})
