"""The target: the one that GATEWAY names, by default the gateway of local/."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.gateway import targets

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.gateway.targets import Target


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Generator[Target]:
    """One gateway with the stage on it."""
    name = os.environ.get("GATEWAY", "local")
    with targets.TARGETS[name](tmp_path_factory.mktemp("gateway")) as target:
        yield target


@pytest.fixture
def target(running: Target, request: pytest.FixtureRequest) -> Target:
    """The gateway; the tests of its known differences are expected to fail."""
    if difference := targets.DIFFERENCES[running.name].get(request.function.__name__):
        request.applymarker(pytest.mark.xfail(reason=difference, strict=True))
    return running
