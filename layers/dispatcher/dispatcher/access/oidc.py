"""Operators of an OpenID Connect issuer: its keys are fetched and cached, issuer and audience are compared exactly."""

import json
import os
import re
import time
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

import jwt

from dispatcher.access.roles import Credential, Operator, Role
from dispatcher.errors import NotAuthenticated, Unavailable
from dispatcher.platform.json_text import as_object, is_array
from dispatcher.platform.observability import logger

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones only: with a symmetric one the issuer's public key would serve as a secret."""
KEYS_SECONDS = 3600
REFRESH_SECONDS = 30
"""At most so often a token with an unknown key makes the service fetch the keys: everybody can send such a token."""
FETCH_SECONDS = 3
"""A log-in asks the issuer three times, and must end before its function does."""
RETRY_SECONDS = 10
"""So long after a failed discovery, or without its keys, the issuer is not asked again: each request would wait for it."""
CLOCK_SECONDS = 30
"""So far the issuer's clock may be ahead.  A token expires exactly: what is known of ended log-ins is deleted then."""
_SUBJECT = re.compile(r"[\x21-\x7e]{1,255}")
_LABEL_CHARACTERS = 128, 256


class Issuer:
    """One issuer; its tokens carry the role in the claim `role_claim` (a string or a list of strings)."""

    def __init__(self, url: str, audience: str, role_claim: str) -> None:
        self.url = url
        self.audience = audience
        self._role_claim = role_claim
        self._keys: _Keys | None = None
        self._document: dict[str, Any] | None = None
        self._failed_at, self._failure = float("-inf"), ""

    def verify(self, token: str, source_ip: str) -> Operator:
        """Verify a token; raises NotAuthenticated, and Unavailable if the issuer's keys cannot be fetched."""
        try:
            key = self._key_client().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=ALGORITHMS,
                audience=self.audience,
                issuer=self.url,
                leeway=CLOCK_SECONDS,
                options={"require": ["exp", "iat", "sub", "iss", "aud"], "verify_exp": False},
            )
        except (jwt.PyJWKClientConnectionError, OSError):
            raise Unavailable("The issuer of this token cannot be reached at present.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise NotAuthenticated("The token is not valid.") from None
        return self._operator(claims, source_ip)

    def _operator(self, claims: dict[str, Any], source_ip: str) -> Operator:
        if not _SUBJECT.fullmatch(str(claims["sub"])):
            raise NotAuthenticated("The token's claim 'sub' is not 1 to 255 printable ASCII characters.")
        try:
            credential = Credential(
                issued_at=float(claims["iat"]),
                expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
            )
        except (ValueError, TypeError, OverflowError, OSError):
            raise NotAuthenticated("The token's claims 'iat' and 'exp' are no moments.") from None
        if credential.expires_at is None or credential.expires_at <= datetime.now(UTC):
            raise NotAuthenticated("The token has expired.")
        return Operator(
            username=f"oidc:{claims['sub']}",
            role=self._role_of(claims),
            scope=_labels_of(claims),
            source_ip=source_ip,
            credential=credential,
        )

    def _role_of(self, claims: dict[str, Any]) -> Role:
        """Return the highest role that the token names; other entries of a list mean something elsewhere."""
        said: object = claims.get(self._role_claim)
        named = said if is_array(said) else [said]
        roles = [role for role in Role if role.value in named]
        if not roles:
            raise NotAuthenticated(
                f"The token names none of the roles {', '.join(Role)} in the claim {self._role_claim!r}."
            )
        return roles[-1]

    def address_of(self, endpoint: str) -> str:
        """Return an address of the issuer's discovery document; raises Unavailable."""
        if self._document is None:
            if time.monotonic() - self._failed_at < RETRY_SECONDS:
                raise Unavailable(self._failure)
            try:
                self._document = self._discover()
            except Unavailable as error:
                self._failed_at, self._failure = time.monotonic(), error.detail
                raise
        address = self._document.get(endpoint)
        if not (isinstance(address, str) and address.startswith(("https://", "http://"))):
            raise Unavailable(f"The issuer of this token does not name its {endpoint}.")
        return address

    def _discover(self) -> dict[str, Any]:
        try:
            with urlopen(  # noqa: S310 - the deployment names it
                f"{self.url.rstrip('/')}/.well-known/openid-configuration", timeout=FETCH_SECONDS
            ) as answer:
                found = as_object(json.loads(answer.read())) or {}
        except (OSError, ValueError, HTTPException):
            raise Unavailable("The issuer of this token cannot be reached at present.") from None
        issuer = found.get("issuer")
        if issuer != self.url:
            logger.error(
                "OIDC_ISSUER is not the issuer's own name",
                extra={"configured": self.url, "own": str(issuer)[:200]},
            )
            raise Unavailable("The issuer of this token is not configured by its exact name.")
        return found

    def _key_client(self) -> "_Keys":
        if self._keys is None:
            where = self.address_of("jwks_uri")
            self._keys = _Keys(
                where,
                cache_jwk_set=True,
                lifespan=KEYS_SECONDS,
                timeout=FETCH_SECONDS,
                cooldown_duration=REFRESH_SECONDS,
            )
        return self._keys


class _Keys(jwt.PyJWKClient):
    """The issuer's keys, which are not asked for at each request while it does not answer."""

    _failed_at = float("-inf")

    def fetch_data(self) -> Any:
        """Fetch the keys; after a failure only after RETRY_SECONDS.  Raises PyJWKClientConnectionError."""
        if time.monotonic() - self._failed_at < RETRY_SECONDS:
            raise jwt.PyJWKClientConnectionError("the issuer's keys could not be fetched a moment ago")
        try:
            return super().fetch_data()
        except (jwt.PyJWTError, OSError, ValueError, HTTPException) as error:
            self._failed_at = time.monotonic()
            raise jwt.PyJWKClientConnectionError(type(error).__name__) from error


def _labels_of(claims: dict[str, Any]) -> dict[str, str] | None:
    """Read the label limit.  A limit that is not as specified admits nobody: read leniently it could admit too much."""
    if "labels" not in claims:
        return None
    labels = as_object(claims["labels"])
    if not labels or not all(_is_label(name, value) for name, value in labels.items()):
        raise NotAuthenticated("The token's claim 'labels' is not an object of texts with at least one label.")
    return labels


def _is_label(name: str, value: object) -> bool:
    most_of_name, most_of_value = _LABEL_CHARACTERS
    return 0 < len(name) <= most_of_name and isinstance(value, str) and len(value) <= most_of_value


def configured() -> Issuer | None:
    """Return the issuer that the environment names, or None."""
    url = os.environ.get("OIDC_ISSUER")
    return _issuer(url, os.environ.get("OIDC_AUDIENCE", ""), os.environ.get("OIDC_ROLE_CLAIM", "role")) if url else None


@cache
def _issuer(url: str, audience: str, role_claim: str) -> Issuer:
    return Issuer(url, audience, role_claim)
