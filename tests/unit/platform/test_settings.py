"""Settings: what a function reads from Secrets Manager."""

import socket
import time
from collections.abc import Iterator

import pytest
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError

from dispatcher.platform import settings


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Secrets Manager that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://127.0.0.1:{listener.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        monkeypatch.setenv("TOKEN_SECRET_ARN", "arn:silent")
        monkeypatch.delenv("TOKEN_SECRET", raising=False)
        settings._secrets.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        yield
        settings._secrets.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("silent")
def test_a_secrets_manager_that_does_not_answer_is_given_up_while_an_agent_still_waits() -> None:
    """A client of botocore alone would wait for a minute; the function would be killed, and the log would not say why."""
    began = time.monotonic()

    with pytest.raises(GetParameterError, match=r"(?i)timeout|timed out"):
        settings.token_secret()

    assert time.monotonic() - began < 5  # the authorizer's timeout
