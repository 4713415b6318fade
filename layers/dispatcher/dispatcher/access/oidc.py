"""Operators of an OpenID Connect issuer: its keys are fetched and cached, issuer and audience are checked."""

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal
from urllib.request import urlopen

import jwt

from dispatcher.errors import NotAuthenticated, Unavailable
from dispatcher.platform.json_text import as_object

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones only: with a symmetric one the issuer's public key would serve as a secret."""
KEYS_SECONDS = 3600
FETCH_SECONDS = 5
RoleName = Literal["admin", "sender", "reader"]
ROLES: tuple[RoleName, ...] = ("admin", "sender", "reader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """What the issuer says about the caller."""

    username: str
    role: RoleName
    labels: dict[str, str] | None


class Issuer:
    """One issuer; its tokens carry the role in the claim `role_claim` (a string or a list of strings)."""

    def __init__(self, url: str, audience: str, role_claim: str) -> None:
        self._url = url.rstrip("/")
        self._audience = audience
        self._role_claim = role_claim
        self._keys: jwt.PyJWKClient | None = None

    def verify(self, token: str) -> Who:
        """Verify a token; raises NotAuthenticated, and Unavailable if the issuer's keys cannot be fetched."""
        try:
            key = self._key_client().get_signing_key_from_jwt(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=[self._url, self._url + "/"],
                options={"require": ["exp", "iat", "sub", "iss", "aud"]},
            )
        except (jwt.PyJWKClientConnectionError, OSError):
            raise Unavailable("The issuer of this token cannot be reached at present.") from None
        except jwt.ExpiredSignatureError:
            raise NotAuthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError):
            raise NotAuthenticated("The token is not valid.") from None
        return self._who(claims)

    def _who(self, claims: dict[str, Any]) -> Who:
        said: Any = claims.get(self._role_claim)
        said = [said] if isinstance(said, str) else said
        for role in ROLES:
            if isinstance(said, list) and role in said:
                return Who(username=f"oidc:{claims['sub']}", role=role, labels=_labels_of(claims))
        raise NotAuthenticated(
            f"The token names none of the roles {', '.join(ROLES)} in the claim {self._role_claim!r}."
        )

    def _key_client(self) -> jwt.PyJWKClient:
        if self._keys is None:
            with urlopen(f"{self._url}/.well-known/openid-configuration", timeout=FETCH_SECONDS) as answer:  # noqa: S310 - the deployment names it
                where = json.loads(answer.read()).get("jwks_uri")
            if not isinstance(where, str):
                raise Unavailable("The issuer of this token does not say where its keys are.")
            self._keys = jwt.PyJWKClient(where, cache_jwk_set=True, lifespan=KEYS_SECONDS, timeout=FETCH_SECONDS)
        return self._keys


def _labels_of(claims: dict[str, Any]) -> dict[str, str] | None:
    """Read the label limit; a claim that is not an object admits nobody, because without a limit it would admit too much."""
    if "labels" not in claims:
        return None
    labels = as_object(claims["labels"])
    if labels is None:
        raise NotAuthenticated("The token's claim 'labels' is not an object.")
    return {str(name): str(value) for name, value in labels.items()}


def configured() -> Issuer | None:
    """Return the issuer that the environment names, or None."""
    url = os.environ.get("OIDC_ISSUER")
    return _issuer(url, os.environ.get("OIDC_AUDIENCE", ""), os.environ.get("OIDC_ROLE_CLAIM", "role")) if url else None


@cache
def _issuer(url: str, audience: str, role_claim: str) -> Issuer:
    return Issuer(url, audience, role_claim)
