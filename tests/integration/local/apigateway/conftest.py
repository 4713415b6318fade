"""One running gateway for all tests that need no special settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.gateway.targets import local_gateway

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.gateway.targets import Target


@pytest.fixture(scope="session")
def served() -> Generator[Target]:
    """The stage of the conformance tests, on the gateway of local/."""
    with local_gateway() as target:
        yield target
