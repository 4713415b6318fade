"""Signatures of calls of AWS, against botocore."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dispatcher.platform.aws_signature import signed


@pytest.mark.parametrize("token", [None, "a/session=="])
@pytest.mark.parametrize("body", [b"", b"\xff" * 1000])
@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:8000/live/@connections/L0SM9cOFvHcCIhw%3D", {}),
        (
            "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/a%3Ab~1/invocations",
            {"X-Amz-Invocation-Type": "Event"},
        ),
        (
            "https://events.eu-west-1.amazonaws.com/",
            {"X-Amz-Target": "AWSEvents.PutEvents", "Content-Type": "x/y; a=b"},
        ),
    ],
)
def test_a_request_is_signed_as_botocore_signs_it(
    url: str, headers: dict[str, str], body: bytes, token: str | None
) -> None:
    """With any path and body, further headers, and the token of a key that expires."""
    credentials = Credentials("AKID", "secret", token)
    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(credentials, "lambda", "eu-west-1").add_auth(request)
    expected = {name: str(value) for name, value in request.headers.items()}
    parts = urlsplit(url)

    sent = signed(
        credentials.get_frozen_credentials(),
        service="lambda",
        region="eu-west-1",
        method="POST",
        path=parts.path,
        headers={"Host": parts.netloc, **headers},
        body=body,
        now=datetime.strptime(expected["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp(),
    )

    assert sent == {"Host": parts.netloc, **expected}
