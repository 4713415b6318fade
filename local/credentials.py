"""The key with which this run's functions sign their calls of AWS's APIs, and the check of such a signature.

AWS Signature Version 4, as botocore makes it (botocore itself cannot check one, and would add 20 MB to this process).  The
key is made anew for each run and exists only in memory and in the
environment of the functions: no other process of this machine can call these APIs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALGORITHM = "AWS4-HMAC-SHA256"
WINDOW_SECONDS = 300.0
"""How far a signature's time may be from this machine's clock."""
_ALWAYS_SIGNED = frozenset({"host", "x-amz-date"})
_AUTHORIZATION = re.compile(f"{ALGORITHM} Credential=([^,]*), ?SignedHeaders=([^,]*), ?Signature=([^,]*)")
"""In the order in which all clients of AWS write it."""


class SignatureError(Exception):
    """A call is not signed as it should be: AWS's type of the error, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The parts of an HTTP request that a signature covers; `path` and `query` are as they were sent."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """By their lower-case names; the values of repeated ones are joined by commas."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key of one run."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Credentials:
        """Make a key that nobody can guess."""
        return cls(key_id=f"LOCAL{secrets.token_hex(8).upper()}", secret=secrets.token_urlsafe(30))

    def environment(self) -> dict[str, str]:
        """Return the variables from which boto3 takes the key."""
        return {"AWS_ACCESS_KEY_ID": self.key_id, "AWS_SECRET_ACCESS_KEY": self.secret}

    def verify(self, call: Call, *, region: str, service: str, now: datetime | None = None) -> None:
        """Return if the call is signed with this key, for this service, within the last minutes; raises SignatureError."""
        headers = call.headers
        credential, names, signature = _parsed(headers.get("authorization", ""))
        key_id, _, scope = credential.partition("/")
        stamp = headers.get("x-amz-date", "")
        if not hmac.compare_digest(key_id.encode(), self.key_id.encode()):
            message = "The security token included in the request is invalid."
            raise SignatureError("UnrecognizedClientException", message)
        if scope != f"{stamp[:8]}/{region}/{service}/aws4_request":
            raise _mismatch()
        if abs((now.timestamp() if now else time.time()) - _seconds(stamp)) > WINDOW_SECONDS:
            message = f"Signature expired: {stamp} is not within {WINDOW_SECONDS:.0f} s of the clock."
            raise SignatureError("InvalidSignatureException", message)
        signed = names.split(";")
        if not _ALWAYS_SIGNED.union([name for name in headers if name.startswith("x-amz-")]).issubset(signed):
            raise _mismatch()
        request = _canonical(call, signed)
        text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = _signing_key(self.secret, stamp[:8], region, service)
        if not hmac.compare_digest(_hmac(key, text).hex().encode(), signature.encode()):
            raise _mismatch()


def _parsed(authorization: str) -> tuple[str, str, str]:
    """Return the credential, the names of the signed headers and the signature."""
    found = _AUTHORIZATION.fullmatch(authorization)
    if found is not None:
        return found[1], found[2], found[3]
    if authorization.partition(" ")[0] != ALGORITHM:
        raise SignatureError("MissingAuthenticationTokenException", "Missing Authentication Token")
    message = "The Authorization header needs Credential, SignedHeaders and Signature."
    raise SignatureError("IncompleteSignatureException", message)


def _canonical(call: Call, signed: Sequence[str]) -> str:
    return "\n".join(
        (
            call.method,
            _canonical_path(call.path),
            "&".join(sorted(call.query.split("&"))) if call.query else "",
            *[f"{name}:{' '.join(call.headers.get(name, '').split())}" for name in signed],
            "",
            ";".join(signed),
            hashlib.sha256(call.body).hexdigest(),
        )
    )


@lru_cache(maxsize=2048)  # the path of each connection comes again and again
def _canonical_path(path: str) -> str:
    return quote(path, safe="/~")


@lru_cache(maxsize=16)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


@lru_cache(maxsize=8)
def _seconds(stamp: str) -> float:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _mismatch() from None


def _mismatch() -> SignatureError:
    message = "The request signature we calculated does not match the signature you provided."
    return SignatureError("InvalidSignatureException", message)
