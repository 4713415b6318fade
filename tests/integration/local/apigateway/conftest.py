"""One running gateway for all tests that are content with the usual settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.local.apigateway.serving import Served, serving

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served]:
    """Serve the tests' deployment, with a schedule that runs twice a second."""
    with serving(tmp_path_factory.mktemp("served"), period=0.5) as running:
        yield running
