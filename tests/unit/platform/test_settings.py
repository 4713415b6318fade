"""The settings that functions read from their environment."""

import pytest

from dispatcher.platform import settings


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "https://lambda.eu-west-1.amazonaws.com"),
        ({"AWS_ENDPOINT_URL": "http://emulator"}, "http://emulator"),
        ({"AWS_ENDPOINT_URL": "http://emulator", "AWS_ENDPOINT_URL_LAMBDA": "http://own"}, "http://own"),
    ],
)
def test_lambda_is_reached_where_boto3_would_reach_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str
) -> None:
    """An emulator tells its functions its address in AWS_ENDPOINT_URL."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_LAMBDA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"AWS_REGION": "eu-west-1", **variables}.items():
        monkeypatch.setenv(name, value)

    assert settings.lambda_url() == url
