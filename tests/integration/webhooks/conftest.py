"""Fixtures of webhooks: receivers on this machine, and an operator."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dispatcher.platform.database import Connection
from tests.integration.webhooks.deliveries import create_admin
from tests.integration.webhooks.receivers import Receiver, receiver
from tests.rows import create_agent


@pytest.fixture
def ada(conn: Connection) -> None:
    """An admin without a label limit, and an agent."""
    create_admin(conn, "ada")
    create_agent(conn, "a1")


@pytest.fixture
def start() -> Iterator[Callable[[], Receiver]]:
    """Start receivers, until the end of the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(receiver())
