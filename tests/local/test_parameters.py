"""What `make up` takes for the template's parameters."""

from pathlib import Path
from typing import Any

import pytest

from local.intrinsics import read
from local.parameters import from_environment, variable
from local.settings import SettingsError

DECLARED: dict[str, dict[str, Any]] = read(Path(__file__).parents[2] / "template.yaml")["Parameters"]


def test_every_parameter_has_a_variable_of_its_own_and_none_of_the_settings() -> None:
    """Named in upper snake case."""
    names = {variable(name) for name in DECLARED}

    assert len(names) == len(DECLARED)
    assert {"DISPATCHER_QUEUE_LIMIT", "DISPATCHER_OIDC_ROLE_CLAIM", "DISPATCHER_LOG_LEVEL"} <= names
    assert not names & {f"DISPATCHER_{name}" for name in ("PORT", "HOME", "ADMIN_PASSWORD", "SWEEP_SECONDS", "URL")}


def test_what_is_set_is_taken_and_what_is_empty_is_not() -> None:
    """Other variables are none of its business."""
    environment = {"DISPATCHER_QUEUE_LIMIT": "7", "DISPATCHER_LOG_LEVEL": "", "DISPATCHER_PORT": "0", "QueueLimit": "8"}

    assert from_environment(DECLARED, environment) == {"QueueLimit": "7"}


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("QUEUE_LIMIT", "many", "a whole number from 1"),
        ("QUEUE_LIMIT", "0", "a whole number from 1"),
        ("RETENTION_DAYS", "1.5", "a whole number from 1"),
        ("DATABASE_BACKUP_DAYS", "36", "a whole number from 1 to 35"),
        ("DATABASE_MIN_CAPACITY", "nan", "a number from 0.5"),
        ("LOG_LEVEL", "LOUD", "one of DEBUG, INFO, WARNING, ERROR"),
        ("DATABASE_ENGINE_VERSION", "9.6", "what matches "),
    ],
)
def test_a_bad_value_is_named_with_what_is_wanted(name: str, value: str, wanted: str) -> None:
    """As the other settings are."""
    with pytest.raises(SettingsError) as caught:
        from_environment(DECLARED, {f"DISPATCHER_{name}": value})

    assert str(caught.value).startswith(f"DISPATCHER_{name}={value} is no ")
    assert f"\nNext: give {wanted}" in str(caught.value)
