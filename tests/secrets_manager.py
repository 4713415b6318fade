"""Secrets Manager, simulated by moto."""

from collections.abc import Generator
from contextlib import contextmanager

import boto3
import pytest
from moto import mock_aws

from dispatcher.platform import settings

REGION = "eu-central-1"


@contextmanager
def secrets_manager(monkeypatch: pytest.MonkeyPatch) -> Generator["SecretsManager"]:
    """Simulate Secrets Manager, and empty the cache of the functions."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        # The provider of an earlier test keeps the values that it read, and a client of the earlier simulation.
        settings._secrets.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        yield SecretsManager()


class SecretsManager:
    """The operator's side of Secrets Manager."""

    def __init__(self) -> None:
        self._client = boto3.client("secretsmanager", region_name=REGION)

    def put(self, name: str, text: str) -> str:
        """Create a secret, or change the value of an existing one, as a rotation does; return its ARN."""
        try:
            return self._client.create_secret(Name=name, SecretString=text)["ARN"]
        except self._client.exceptions.ResourceExistsException:
            return self._client.put_secret_value(SecretId=name, SecretString=text)["ARN"]
