"""AWS Signature Version 4, as botocore makes it, for a request without a query: at a quarter of botocore's cost."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


class Key(Protocol):
    """An access key, as botocore's credentials give it."""

    @property
    def access_key(self) -> str | None:
        """Its id."""
        ...

    @property
    def secret_key(self) -> str | None:
        """What it signs with."""
        ...

    @property
    def token(self) -> str | None:
        """The session's token, for a key that expires."""
        ...


def signed(
    key: Key,
    *,
    service: str,
    region: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> dict[str, str]:
    """Return the headers of a request, `Host` among them, with those that sign it; `path` is percent-encoded."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**headers, "X-Amz-Date": stamp}
    if key.token:
        sent["X-Amz-Security-Token"] = key.token
    covered = sorted((name.lower(), " ".join(value.split())) for name, value in sent.items())
    names = ";".join(name for name, _ in covered)
    lines = [method, _canonical(path), "", *(f"{name}:{value}" for name, value in covered), "", names]
    request = "\n".join([*lines, hashlib.sha256(body).hexdigest()])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = _signer(key.secret_key, stamp[:8], region, service).copy()
    signature.update(text.encode())
    sent["Authorization"] = (
        f"{_ALGORITHM} Credential={key.access_key}/{scope}, SignedHeaders={names}, Signature={signature.hexdigest()}"
    )
    return sent


@lru_cache(maxsize=1024)
def _canonical(path: str) -> str:
    return quote(path, safe="/~")


@lru_cache(maxsize=16)
def _signer(secret: str | None, day: str, region: str, service: str) -> hmac.HMAC:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")
