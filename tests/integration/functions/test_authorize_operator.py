"""The function `authorize_operator`: log-in tokens, API tokens, and tokens of an OpenID Connect issuer."""

import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pytest_httpserver import HTTPServer

from dispatcher.access.login import FREE_ATTEMPTS
from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import LOGIN, Run, ask, operator_of, request

EU = {"region": "eu"}


@pytest.mark.usefixtures("operators")
def test_a_password_gives_a_token_that_the_authorizer_knows(run: Run) -> None:
    """A wrong name and a wrong password get the same 401."""
    status, body = ask(run, "operators", "POST", LOGIN, {"username": "admin", "password": "correct horse"}, role=None)
    wrong = ask(run, "operators", "POST", LOGIN, {"username": "admin", "password": "wrong"}, role=None)
    unknown = ask(run, "operators", "POST", LOGIN, {"username": "nobody", "password": "wrong"}, role=None)

    assert status == 200
    assert operator_of(run, body["token"]) == {"username": "admin", "role": "admin"}
    assert wrong == unknown
    assert wrong[0] == 401


@pytest.mark.usefixtures("operators")
def test_a_name_has_to_wait_after_repeated_failures(run: Run, conn: Connection) -> None:
    """At that address; the answer does not reveal whether the password was right."""
    wrong = {"username": "admin", "password": "wrong"}
    right = {"username": "admin", "password": "correct horse"}
    for _ in range(FREE_ATTEMPTS):
        assert ask(run, "operators", "POST", LOGIN, wrong, role=None)[0] == 401
    # The first lock lasts for 2 s, and a busy machine may take longer for the next request.
    conn.execute("update login_failures set last_at = last_at + interval '1 minute'")

    locked = run("operators", request("POST", LOGIN, right, role=None))

    headers = {name.lower(): value for name, value in locked.get("headers", {}).items()}
    assert locked["statusCode"] == 429
    assert int(headers["retry-after"]) >= 1


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    "change", [{"exp": 1}, {"iss": "somebody"}, {"sub": "stranger"}, {"key": "8" * 64}, {"algorithm": "none"}]
)
def test_a_foreign_or_expired_token_is_not_accepted(run: Run, change: dict[str, Any]) -> None:
    """Expired, of another issuer, of an unknown operator, signed with another key, or not signed."""
    claims = {"iss": "agent-command-dispatcher", "sub": "admin", "iat": 1, "exp": 32503680000}
    key, algorithm = change.get("key", "7" * 64), change.get("algorithm", "HS256")
    token = jwt.encode({**claims, **change}, "" if algorithm == "none" else key, algorithm=algorithm)

    assert "username" not in operator_of(run, token)


@pytest.mark.usefixtures("operators")
def test_an_api_token_works_until_it_is_revoked_and_can_do_no_more_than_its_owner(run: Run) -> None:
    """Its secret is shown once and is not stored."""
    above = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "admin"}, role=Role.SENDER)[0]
    status, made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=Role.SENDER)

    valid = operator_of(run, made["token"])
    listed = ask(run, "operators", "GET", "/api/v1/tokens", role=Role.SENDER)[1]["tokens"]
    others = ask(run, "operators", "DELETE", f"/api/v1/tokens/{made['tokenId']}", role=Role.READER)[0]
    revoked = ask(run, "operators", "DELETE", f"/api/v1/tokens/{made['tokenId']}", role=Role.SENDER)[0]
    after = operator_of(run, made["token"])

    assert above == 403
    assert status == 201
    assert others == 404
    assert revoked == 204
    assert valid == {"username": "the-sender", "role": "reader"}
    assert [token["name"] for token in listed] == ["ci"]
    assert made["token"] not in json.dumps(listed)
    assert "username" not in after


@pytest.mark.usefixtures("operators")
def test_an_expired_api_token_is_not_accepted(run: Run, conn: Connection) -> None:
    """It is not listed either."""
    body = {"name": "ci", "role": "reader"}
    made = ask(run, "operators", "POST", "/api/v1/tokens", body, role=Role.SENDER)[1]
    conn.execute("update api_tokens set expires_at = now()")

    operator = operator_of(run, made["token"])
    listed = ask(run, "operators", "GET", "/api/v1/tokens", role=Role.SENDER)[1]["tokens"]

    assert "username" not in operator
    assert listed == []


@pytest.mark.usefixtures("operators")
def test_a_disabled_operator_cannot_log_in_and_their_tokens_are_invalid(run: Run) -> None:
    """Log-in tokens too, from the next request on."""
    right = {"username": "the-sender", "password": "sender"}
    token = ask(run, "operators", "POST", LOGIN, right, role=None)[1]["token"]
    made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "reader"}, role=Role.SENDER)[1]

    disabled = ask(run, "operators", "DELETE", "/api/v1/operators/the-sender")[0]
    themselves = ask(run, "operators", "DELETE", "/api/v1/operators/the-admin")[0]

    login = ask(run, "operators", "POST", LOGIN, right, role=None)[0]
    assert disabled == 204
    assert themselves == 409
    assert login == 401
    assert "username" not in operator_of(run, made["token"])
    assert "username" not in operator_of(run, token)


@pytest.mark.usefixtures("operators")
def test_a_lower_role_takes_effect_immediately(run: Run) -> None:
    """Whatever tokens the operator holds; the labels come with the role."""
    token = ask(run, "operators", "POST", LOGIN, {"username": "the-sender", "password": "sender"}, role=None)[1][
        "token"
    ]
    made = ask(run, "operators", "POST", "/api/v1/tokens", {"name": "ci", "role": "sender"}, role=Role.SENDER)[1]
    less = {"password": "long enough it is", "role": "reader", "labels": EU}

    ask(run, "operators", "PUT", "/api/v1/operators/the-sender", less)

    for each in (token, made["token"]):
        context = operator_of(run, each)
        assert context == {"username": "the-sender", "role": "reader", "labels": json.dumps(EU)}


@pytest.fixture
def issuer(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, rsa.RSAPrivateKey]:
    """The URL of an OpenID Connect issuer that serves its keys, and its private key."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": "k1", "use": "sig", "alg": "RS256"}
    url = httpserver.url_for("").rstrip("/")
    discovery = {"issuer": url, "jwks_uri": f"{url}/keys"}
    httpserver.expect_request("/.well-known/openid-configuration").respond_with_json(discovery)
    httpserver.expect_request("/keys").respond_with_json({"keys": [key]})
    monkeypatch.setenv("OIDC_ISSUER", url)
    monkeypatch.setenv("OIDC_AUDIENCE", "dispatcher")
    return url, private


def test_a_token_of_an_issuer_is_accepted_if_signature_audience_issuer_and_role_are_right(
    run: Run, issuer: tuple[str, rsa.RSAPrivateKey]
) -> None:
    """The labels of the token are optional."""
    url, private = issuer
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = int(time.time())
    good = {"iss": url, "aud": "dispatcher", "sub": "u1", "role": ["sender"], "iat": now, "exp": now + 600}

    def known(claims: dict[str, Any], key: Any = private, algorithm: str = "RS256") -> Any:
        token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k1"})
        return operator_of(run, token).get("username")

    assert known(good) == "oidc:u1"
    assert known({**good, "labels": EU}) == "oidc:u1"
    for labels in (["region=eu"], "eu", None):
        assert known({**good, "labels": labels}) is None, "a label limit that cannot be read is no permission"
    for bad in ({"aud": "other"}, {"iss": "https://other"}, {"exp": now - 1}, {"role": "owner"}, {"role": None}):
        assert known({**good, **bad}) is None, bad
    assert known(good, stranger) is None
    assert known(good, "7" * 64, "HS256") is None
