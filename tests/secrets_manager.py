"""Secrets Manager as moto plays it: what the functions read there is what was put there."""

from collections.abc import Generator
from contextlib import contextmanager

import boto3
import pytest
from aws_lambda_powertools.utilities.parameters import secrets
from moto import mock_aws

REGION = "eu-central-1"


@contextmanager
def secrets_manager(monkeypatch: pytest.MonkeyPatch) -> Generator["SecretsManager"]:
    """Play Secrets Manager, and let functions find nothing of an earlier one in their cache."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        # The provider of an earlier test keeps what it read, and a client of what played then.
        monkeypatch.setattr(secrets, "DEFAULT_PROVIDERS", {})
        yield SecretsManager()


class SecretsManager:
    """The operator's side of it."""

    def __init__(self) -> None:
        self._client = boto3.client("secretsmanager", region_name=REGION)

    def put(self, name: str, text: str) -> str:
        """Make a secret, or give an existing one another value, as a rotation does; return its ARN."""
        try:
            return self._client.create_secret(Name=name, SecretString=text)["ARN"]
        except self._client.exceptions.ResourceExistsException:
            return self._client.put_secret_value(SecretId=name, SecretString=text)["ARN"]
