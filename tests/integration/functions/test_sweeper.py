"""The sweeper, and the further shards of a sweep."""

import json
from typing import Any

import pytest

from dispatcher.platform import lambda_api
from tests.integration.functions.conftest import Context
from tests.integration.functions.events import Run


def test_the_sweeper_invokes_itself_for_the_other_shards(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the alias that it was invoked with; a shard invokes nothing."""
    invoked: list[tuple[str, Any]] = []

    def accept(function: str, payload: bytes) -> None:
        invoked.append((function, json.loads(payload)))

    monkeypatch.setattr(lambda_api, "invoke_event", accept)
    monkeypatch.setenv("SWEEP_SHARDS", "3")

    run("sweeper", {})
    run("sweeper", {"shard": 1})

    assert invoked == [(Context.invoked_function_arn, {"shard": 1}), (Context.invoked_function_arn, {"shard": 2})]
