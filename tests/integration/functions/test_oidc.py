"""Tokens of an OpenID Connect issuer: accepted only exactly as specified."""

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pytest_httpserver import HTTPServer

from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, as_bearer, ask, operator_of, request

EU = {"region": "eu"}
SignedWith = Callable[..., str]


@pytest.fixture
def key() -> rsa.RSAPrivateKey:
    """The issuer's private key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def url(httpserver: HTTPServer) -> str:
    """The issuer's own name: another one in each test, because functions keep an issuer's keys."""
    return httpserver.url_for(f"/{uuid4()}")


@pytest.fixture
def signed(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, key: rsa.RSAPrivateKey, url: str) -> SignedWith:
    """Sign a good token of an issuer that serves its keys, with other claims (None: without the claim)."""
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "k1", "use": "sig", "alg": "RS256"}
    path = "/" + url.rpartition("/")[2]
    discovery = {"issuer": url, "jwks_uri": f"{url}/keys"}
    httpserver.expect_request(f"{path}/.well-known/openid-configuration").respond_with_json(discovery)
    httpserver.expect_request(f"{path}/keys").respond_with_json({"keys": [public]})
    monkeypatch.setenv("OIDC_ISSUER", url)
    monkeypatch.setenv("OIDC_AUDIENCE", "dispatcher")

    def sign(*, with_key: Any = key, algorithm: str = "RS256", kid: str = "k1", **claims: Any) -> str:
        now = int(time.time())
        good = {"iss": url, "aud": "dispatcher", "sub": "u1", "role": ["sender"], "iat": now, "exp": now + 600}
        said = {name: value for name, value in {**good, **claims}.items() if value is not Ellipsis}
        return jwt.encode(said, with_key, algorithm=algorithm, headers={"kid": kid})

    return sign


def test_a_token_of_the_issuer_is_accepted_with_its_role_and_labels(run: Run, signed: SignedWith) -> None:
    """Without labels there is no limit; of several roles the highest counts; other entries mean something elsewhere."""
    assert operator_of(run, signed()) == {"username": "oidc:u1", "role": "sender"}
    assert operator_of(run, signed(labels=EU)) == {"username": "oidc:u1", "role": "sender", "labels": EU}
    assert operator_of(run, signed(role="reader"))["role"] == "reader"
    assert operator_of(run, signed(role=["staff", "reader", "admin"]))["role"] == "admin"
    assert operator_of(run, signed(aud=["other", "dispatcher"]))["role"] == "sender"


BAD: dict[str, list[Any]] = {
    "labels": [
        *("eu", "", ["region=eu"], [], True, False, None, 1, {}, {"": "eu"}),
        *({"region": value} for value in (None, True, 1, ["eu"], {"is": "eu"}, "x" * 257)),
    ],
    "role": [*("owner", "admin,reader", "", "Admin", ["owner"], [["admin"]], {"admin": True}, None, True, 1, []), ...],
    "aud": ["other", "dispatcher ", ["other"], "", ...],
    "sub": ["", "a b", "a\nb", "ädmin", "x" * 256, ...],
    "exp": [1, 1e300, ...],
    "iat": [...],
}


@pytest.mark.parametrize("claims", [{name: value} for name, values in BAD.items() for value in values], ids=str)
def test_a_claim_that_is_not_as_specified_refuses_and_never_widens(
    run: Run, signed: SignedWith, claims: dict[str, Any]
) -> None:
    """A label limit that cannot be read is no permission, and a role that is unknown is none."""
    assert operator_of(run, signed())["username"] == "oidc:u1"
    assert operator_of(run, signed(**claims)) == {}


def test_issuer_and_signature_are_exact(run: Run, signed: SignedWith, url: str) -> None:
    """Another spelling of the issuer is another issuer; the public key is no secret."""
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    for issuer in (f"{url}/", url.upper(), "https://other"):
        assert operator_of(run, signed(iss=issuer)) == {}, issuer
    assert operator_of(run, signed(with_key=stranger)) == {}
    assert operator_of(run, signed(with_key="7" * 64, algorithm="HS256")) == {}


def test_tokens_with_unknown_keys_do_not_make_the_service_fetch_keys_each_time(
    run: Run, signed: SignedWith, httpserver: HTTPServer
) -> None:
    """Everybody can send such tokens."""
    for number in range(20):
        assert operator_of(run, signed(kid=f"unknown-{number}")) == {}

    fetched = [asked for asked, _ in httpserver.log if asked.path.endswith("/keys")]
    assert len(fetched) <= 2


def test_an_issuer_that_names_itself_otherwise_is_a_503(
    run: Run, signed: SignedWith, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says which name it has."""
    monkeypatch.setenv("OIDC_ISSUER", f"{url}/")

    answer = run("commands", request("GET", "/api/v1/commands", role=None, **as_bearer(signed())))

    assert answer["statusCode"] == 503


def test_what_an_operator_of_the_issuer_makes_ends_with_their_token(
    run: Run, conn: Connection, signed: SignedWith
) -> None:
    """Their rights are known only from it; they cannot make API tokens, which need an account here."""
    admin = as_bearer(signed(role="admin"))
    body = {"prefix": "edge-", "ttlSeconds": 604_800}

    status, _ = ask(run, "agents", "POST", "/api/v1/enrolment-tokens", body, role=None, **admin)
    token = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=None, **admin)

    assert status == 201
    assert conn.execute("select expires_at < now() + interval '11 minutes' from enrolment_tokens").fetchone() == (True,)
    assert token[0] == 409


def test_an_operator_of_the_issuer_makes_no_webhook(run: Run, signed: SignedWith) -> None:
    """A webhook has the rights that its operator has at each delivery; theirs are known only from their token."""
    admin = as_bearer(signed(role="admin"))

    status, _ = ask(run, "webhooks", "POST", "/api/v1/webhooks", {"url": "https://a.example/"}, role=None, **admin)

    assert status == 409
