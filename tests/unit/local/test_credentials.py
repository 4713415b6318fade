"""The check of signatures, against botocore, which makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import botocore.credentials
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from local.credentials import WINDOW_SECONDS, Call, Credentials, SignatureError

KEY = Credentials.generate()
URL = "http://127.0.0.1:8000/live/@connections/L0SM9cOFvHcCIhw%3D"


def signed(url: str = URL, *, key: Credentials = KEY, body: bytes = b'{"a": 1}', region: str = "us-east-1") -> Call:
    """Sign a call as boto3 does."""
    request = AWSRequest("POST", url, headers={"X-Amz-Invocation-Type": " Event ", "Host": "127.0.0.1:8000"}, data=body)
    secret = botocore.credentials.Credentials(key.key_id, key.secret)
    SigV4Auth(secret, "execute-api", region).add_auth(request)
    headers = {name.lower(): str(value) for name, value in request.headers.items()}
    parts = urlsplit(url)
    return Call(method="POST", path=parts.path, query=parts.query, headers=headers, body=body)


def check(call: Call, *, late: float = 0.0) -> None:
    """Check a call for the service and the region of all tests."""
    now = datetime.now(UTC) + timedelta(seconds=late)
    KEY.verify(call, region="us-east-1", service="execute-api", now=now)


@pytest.mark.parametrize(
    "url", [URL, f"{URL}?b=2&a=x%20y&a=1", "http://127.0.0.1:8000/", "http://127.0.0.1:8000/a%3Ab"]
)
@pytest.mark.parametrize("body", [b"", b"\xff" * 1000])
def test_what_botocore_signs_is_accepted(url: str, body: bytes) -> None:
    """With any path, query and body; a proxy may add headers that are not signed."""
    call = signed(url, body=body)

    check(replace(call, headers={**call.headers, "via": "1.1 proxy"}))


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"path": "/live/@connections/another"},
        {"query": "a=1"},
        {"body": b'{"a": 2}'},
    ],
)
def test_a_changed_call_is_refused(change: dict[str, object]) -> None:
    """The signature covers all of it."""
    call = replace(signed(), **change)  # type: ignore[arg-type]

    with pytest.raises(SignatureError, match="InvalidSignatureException"):
        check(call)


@pytest.mark.parametrize("name", ["host", "x-amz-date", "x-amz-invocation-type", "x-amz-target"])
def test_a_changed_or_added_header_is_refused(name: str) -> None:
    """The host, the time, and what begins with x-amz-."""
    call = signed()
    headers = {each: value for each, value in call.headers.items() if each != name}

    with pytest.raises(SignatureError, match="InvalidSignatureException"):
        check(replace(call, headers={**headers, name: "another"}))


def test_a_call_for_another_service_or_region_is_refused() -> None:
    """A signature for one API opens no other one."""
    with pytest.raises(SignatureError):
        check(signed(region="eu-central-1"))
    with pytest.raises(SignatureError):
        KEY.verify(signed(), region="us-east-1", service="lambda")


@pytest.mark.parametrize("late", [-WINDOW_SECONDS - 2, WINDOW_SECONDS + 2])
def test_an_old_signature_is_refused(late: float) -> None:
    """Five minutes, in both directions."""
    call = signed()

    check(call, late=late * 0.9)
    with pytest.raises(SignatureError, match="Signature expired"):
        check(call, late=late)


def test_the_key_of_another_run_is_refused() -> None:
    """Each run has its own key; with the right key id it needs the right secret, too."""
    other = Credentials.generate()

    with pytest.raises(SignatureError, match="UnrecognizedClientException"):
        check(signed(key=other))
    with pytest.raises(SignatureError, match="InvalidSignatureException"):
        check(signed(key=replace(other, key_id=KEY.key_id)))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 nothing",
        "AWS4-HMAC-SHA256 Credential=é, SignedHeaders=é, Signature=é",
        "AWS4-HMAC-SHA256 Credential={key}, SignedHeaders=, Signature=",
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    """Whatever it contains."""
    call = signed()
    authorization = header.replace("{key}", KEY.key_id)

    with pytest.raises(SignatureError):
        check(replace(call, headers={**call.headers, "authorization": authorization}))


def test_the_secret_is_not_shown() -> None:
    """Not in a log or a traceback."""
    assert KEY.secret not in repr(KEY)
