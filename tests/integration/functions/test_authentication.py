"""Who calls: log-in tokens and API tokens."""

import json
from typing import Any

import jwt
import pytest

from dispatcher.access.roles import Role
from dispatcher.platform.database import Connection
from tests.integration.functions.events import LIST, LOGIN, TOKEN_SECRET, Run, as_bearer, ask, operator_of, token_of


@pytest.mark.usefixtures("operators")
def test_a_password_gives_a_token_that_every_function_knows(run: Run) -> None:
    """A wrong name and a wrong password get the same 401."""
    status, body = ask(run, "operators", "POST", LOGIN, {"username": "admin", "password": "correct horse"}, role=None)
    wrong = ask(run, "operators", "POST", LOGIN, {"username": "admin", "password": "wrong"}, role=None)
    unknown = ask(run, "operators", "POST", LOGIN, {"username": "nobody", "password": "wrong"}, role=None)

    assert status == 200
    assert operator_of(run, body["token"]) == {"username": "admin", "role": "admin"}
    assert wrong == unknown
    assert wrong[0] == 401


@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    "change",
    [
        {"exp": 1},
        {"iss": "somebody"},
        {"sub": "stranger"},
        {"key": "8" * 64},
        {"algorithm": "none"},
        {"iat": 1},
        {"iat": "now"},
        {"iat": 1e300},
        {"exp": 1e300},
    ],
)
def test_a_foreign_or_expired_token_is_not_accepted(run: Run, change: dict[str, Any]) -> None:
    """Expired, of another issuer, of an unknown operator, signed with another key, not signed, or without a moment."""
    good: dict[str, Any] = jwt.decode(token_of("admin"), options={"verify_signature": False})
    key, algorithm = change.get("key", TOKEN_SECRET), change.get("algorithm", "HS256")
    token = jwt.encode({**good, **change}, "" if algorithm == "none" else key, algorithm=algorithm)

    assert operator_of(run, token_of("admin")) == {"username": "admin", "role": "admin"}
    assert operator_of(run, token) == {}


@pytest.mark.usefixtures("operators")
def test_an_unknown_caller_gets_401_before_anything_else_is_looked_at(run: Run) -> None:
    """A body that does not fit and an object that does not exist say nothing to a caller without a valid token.

    Which paths there are is no secret: everybody may read the OpenAPI document.
    """
    for headers in ({}, as_bearer("acd_" + "0" * 64), as_bearer("x.y.z"), {"Authorization": "Basic YWRtaW46eA=="}):
        for method, path in (("POST", LIST), ("GET", f"{LIST}/unknown?unknown=1")):
            status, problem = ask(run, "commands", method, path, {"unknown": 1}, role=None, **headers)
            assert (status, problem["status"]) == (401, 401)


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
