"""The options of `make up` in the environment."""

import re
from pathlib import Path

import pytest

from local.options import OptionError, Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("DISPATCHER_PORT", value) for value in ("http", "-1", "65536", "8000.0", "\N{SUPERSCRIPT TWO}")),
        *(("DISPATCHER_SWEEP_SECONDS", value) for value in ("often", "0", "-3", "inf", "nan")),
        *(("DISPATCHER_WEBHOOKS_PRIVATE", value) for value in ("true", "yes", "2")),
        *(("DISPATCHER_HOSTS", value) for value in ("http://a.example", "a.example:80", "*")),
    ],
)
def test_a_value_that_cannot_be_used_is_named(name: str, value: str) -> None:
    """The error also says which values are valid."""
    with pytest.raises(OptionError, match=rf"^{name}={re.escape(value)} is no .*\nNext: "):
        Options.read({name: value})


def test_an_empty_variable_is_unset() -> None:
    """`DISPATCHER_PORT= make up` uses the default port."""
    names = ("DISPATCHER_PORT", "DISPATCHER_HOME", "DISPATCHER_ADMIN_PASSWORD", "DISPATCHER_SWEEP_SECONDS")

    assert Options.read(dict.fromkeys(names, "")) == Options.read({})
    assert Options.read({}).port == 8000
    assert Options.read({}).home == Path.cwd() / ".dispatcher"


def test_private_webhooks_are_switched_on_with_1() -> None:
    """And are off otherwise."""
    assert Options.read({"DISPATCHER_WEBHOOKS_PRIVATE": "1"}).webhooks_private
    assert not Options.read({"DISPATCHER_WEBHOOKS_PRIVATE": "0"}).webhooks_private
    assert not Options.read({}).webhooks_private


def test_further_hosts_are_a_list() -> None:
    """With commas; blanks do not count."""
    assert Options.read({"DISPATCHER_HOSTS": "a.example, b.example,::2,"}).hosts == ("a.example", "b.example", "::2")
