"""Tokens of an OpenID Connect issuer: accepted only exactly as specified."""

import json
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pytest_httpserver import HTTPServer
from werkzeug import Response

from dispatcher.access import oidc
from dispatcher.platform.database import Connection
from tests.integration.functions.events import Run, as_bearer, ask, operator_of, request

PROVIDER = "/api/v1/auth/provider"
SESSION = "/api/v1/auth/session"
CODE = {"code": "c1", "codeVerifier": "v" * 43, "redirectUri": "https://dispatcher.example/console/"}

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
    discovery = {
        "issuer": url,
        "jwks_uri": f"{url}/keys",
        "authorization_endpoint": f"{url}/authorize",
        "token_endpoint": f"{url}/token",
    }
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
    "exp": [1, 1e300, "soon", [], None, ...],
    "iat": ["now", [], None, ...],
}


@pytest.mark.parametrize("claims", [{name: value} for name, values in BAD.items() for value in values], ids=str)
def test_a_claim_that_is_not_as_specified_refuses_and_never_widens(
    run: Run, signed: SignedWith, claims: dict[str, Any]
) -> None:
    """A label limit that cannot be read is no permission, and a role that is unknown is none."""
    assert operator_of(run, signed())["username"] == "oidc:u1"
    assert operator_of(run, signed(**claims)) == {}


def test_the_clock_of_the_issuer_may_be_ahead_a_little(run: Run, signed: SignedWith) -> None:
    """Issued half a minute ahead is accepted, more is not; a token expires without a delay, and so does its log-out."""
    now = int(time.time())

    assert operator_of(run, signed(iat=now + 10, nbf=now + 10))["username"] == "oidc:u1"
    assert operator_of(run, signed(iat=now + 90)) == {}
    assert operator_of(run, signed(nbf=now + 90)) == {}
    assert operator_of(run, signed(exp=now)) == {}


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


@pytest.mark.parametrize("keys", [Response(status=502), Response("<html>maintenance</html>")])
def test_an_issuer_without_its_keys_is_not_asked_at_each_request(
    run: Run,
    signed: SignedWith,
    httpserver: HTTPServer,
    monkeypatch: pytest.MonkeyPatch,
    keys: Response,
) -> None:
    """Each request would wait for it.  The token may be good, so this is a 503; after a while the issuer is asked again."""
    [working] = [each for each in httpserver.handlers if str(each.matcher.uri).endswith("/keys")]
    path = str(working.matcher.uri)
    httpserver.handlers.remove(working)
    httpserver.expect_request(path).respond_with_response(keys)
    asked = request("GET", "/api/v1/commands", role=None, **as_bearer(signed()))

    statuses = [run("commands", asked)["statusCode"] for _ in range(5)]

    assert (statuses, [each.path for each, _ in httpserver.log].count(path)) == ([503] * 5, 1)
    httpserver.handlers[-1] = working
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0)
    assert run("commands", asked)["statusCode"] == 200


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


def log_in(run: Run, **headers: str) -> tuple[int, str, Any]:
    """Bring a code back as the page does; return the status, the cookie, and the document."""
    answer = run("operators", request("POST", PROVIDER, CODE, role=None, **headers))
    return answer["statusCode"], answer["headers"].get("Set-Cookie", ""), json.loads(answer["body"])


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Browsers log in at the issuer."""
    monkeypatch.setenv("OIDC_CLIENT_ID", "dispatcher")


@pytest.mark.usefixtures("client")
def test_an_issuer_that_does_not_answer_is_not_asked_by_each_visitor(
    run: Run, signed: SignedWith, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each visitor would wait for it.  After a while it is asked again."""
    del signed  # the issuer
    working = list(httpserver.handlers)
    httpserver.clear()
    httpserver.expect_request(re.compile(".*/openid-configuration")).respond_with_data(status=502)

    statuses = [ask(run, "operators", "GET", PROVIDER, role=None)[0] for _ in range(5)]
    asked = len(httpserver.log)
    httpserver.handlers[:] = working
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 0)

    assert (statuses, asked) == ([503] * 5, 1)
    assert ask(run, "operators", "GET", PROVIDER, role=None)[0] == 200


@pytest.mark.usefixtures("client")
def test_a_browser_logs_in_with_a_code_of_the_issuer(
    run: Run, conn: Connection, signed: SignedWith, httpserver: HTTPServer, url: str
) -> None:
    """No script sees the issuer's token: it is in the cookie, as long as it is valid.  The log-in is in the audit log."""
    form = {"grant_type": "authorization_code", "code": "c1", "code_verifier": "v" * 43, "client_id": "dispatcher"}
    tokens = {"id_token": signed(labels=EU), "access_token": "opaque"}
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token", method="POST").respond_with_json(tokens)

    _, begin = ask(run, "operators", "GET", PROVIDER, role=None)
    status, cookie, document = log_in(run)
    own = run("operators", request("GET", SESSION, role=None) | {"cookies": [cookie.partition(";")[0]]})

    assert begin["openIdConnect"] == {
        "issuer": url,
        "authorizationEndpoint": f"{url}/authorize",
        "clientId": "dispatcher",
        "scope": "openid",
    }
    assert status == 200
    assert (document["username"], document["role"], document["labels"]) == ("oidc:u1", "sender", EU)
    assert {"HttpOnly", "SameSite=Strict"} <= {*cookie.split("; ")}
    assert 500 < int(cookie.partition("Max-Age=")[2].partition(";")[0]) <= 600
    assert json.loads(own["body"])["username"] == "oidc:u1"
    asked = [asked for asked, _ in httpserver.log if asked.path.endswith("/token")]
    assert form.items() <= asked[0].form.to_dict().items()
    assert conn.execute("select actor, action from audit_log").fetchall() == [("oidc:u1", "log in")]


@pytest.mark.usefixtures("client")
def test_a_log_out_ends_a_log_in_at_the_issuer_here(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str
) -> None:
    """A copy of its cookie is worth nothing afterwards; another log-in of the operator goes on."""
    now = int(time.time())
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token").respond_with_json({"id_token": signed(iat=now - 9)})
    _, said, document = log_in(run)
    cookie = said.partition(";")[0]

    ended = run(
        "operators",
        request("DELETE", SESSION, role=None, x_csrf_token=document["csrfToken"]) | {"cookies": [cookie]},
    )
    after = run("operators", request("GET", SESSION, role=None) | {"cookies": [cookie]})

    assert (ended["statusCode"], after["statusCode"]) == (204, 401)
    assert operator_of(run, signed(iat=now))["username"] == "oidc:u1"


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (({"error": "invalid_grant", "error_description": "The code is old"}, 400), 401, "The code is old"),
        (({"id_token": "no token"}, 200), 401, "not valid"),
        (({"access_token": "opaque"}, 200), 401, "no token for this service"),
        (({"id_token": "x" * 4000}, 200), 500, "leave claims out"),
        (({"error": "temporarily_unavailable"}, 502), 503, "at present"),
        (({"error": "slow_down"}, 429), 503, "at present"),
        (({"error": "invalid_client", "error_description": "No such client"}, 401), 500, "No such client"),
    ],
)
def test_a_code_that_gives_no_good_token_gives_no_session(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str, *, answer: tuple[Any, int], status: int, said: str
) -> None:
    """The problem says why."""
    del signed  # the issuer
    body, code = answer
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token").respond_with_json(body, status=code)

    answered, cookie, problem = log_in(run)

    assert (answered, cookie) == (status, "")
    assert said in problem["detail"]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    "address",
    [
        *("", "https://[", "https://€.example/console/", "https://a.example/console/\n", "https://a.example/other/"),
        *("https://a@b.example/console/", "file:///console/", "https://a.example/?to=/console/"),
    ],
)
def test_an_address_that_is_no_page_of_an_operator_is_not_valid(run: Run, signed: SignedWith, address: str) -> None:
    """Its origin becomes a header of the request to the issuer."""
    del signed  # the issuer

    status, problem = ask(run, "operators", "POST", PROVIDER, CODE | {"redirectUri": address}, role=None)

    assert status == 422
    assert "redirectUri" in json.dumps(problem)


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("origin", ["https://[::1]:8443", "http://127.0.0.1:8080", "https://[", "https://a:b:c"])
def test_the_issuer_is_told_the_origin_of_the_page(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str, origin: str
) -> None:
    """Whether it is an address is for the issuer to say."""
    tokens = {"id_token": signed()}
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token", headers={"Origin": origin}).respond_with_json(tokens)
    code = CODE | {"redirectUri": f"{origin}/console/"}

    assert ask(run, "operators", "POST", PROVIDER, code, role=None)[0] == 200


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("path", "status"), [("token", 200), ("token", 400), ("discovery", 200)])
def test_an_answer_of_the_issuer_that_breaks_off_is_no_fault_of_the_service(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str, *, path: str, status: int
) -> None:
    """A 503 if the answer was a good one, and a 401 if it was a refusal."""
    del signed  # the issuer
    names = {"token": "token", "discovery": ".well-known/openid-configuration"}
    if path == "discovery":
        httpserver.clear()
    broken = Response("{}", status=status)
    broken.content_length = 99
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/{names[path]}").respond_with_response(broken)

    assert log_in(run)[0] == (503 if status == 200 else 401)


@pytest.mark.usefixtures("client")
def test_an_address_with_many_refused_codes_has_to_wait(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str
) -> None:
    """Everybody can send codes: the issuer is not asked about each of them."""
    del signed  # the issuer
    refused = {"error": "invalid_grant"}
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token").respond_with_json(refused, status=400)

    statuses = [log_in(run)[0] for _ in range(25)]

    assert set(statuses) == {401, 429}
    assert statuses == sorted(statuses)
    asked = [asked for asked, _ in httpserver.log if asked.path.endswith("/token")]
    assert len(asked) == statuses.count(401) < 25
    wrong = {"username": "nobody", "password": "wrong"}
    assert ask(run, "operators", "POST", "/api/v1/auth/login", wrong, role=None)[0] == 401


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (({"error": "invalid_client"}, 401), 500),
        (({"error": "slow_down"}, 429), 503),
        (({"error": "server_error"}, 500), 503),
        (({"id_token": "no token"}, 200), 401),
    ],
)
def test_only_refused_codes_make_an_address_wait(
    run: Run, signed: SignedWith, httpserver: HTTPServer, url: str, *, answer: tuple[Any, int], status: int
) -> None:
    """For what is wrong at the issuer, or with its configuration, the caller can do nothing."""
    del signed  # the issuer
    body, code = answer
    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token").respond_with_json(body, status=code)

    assert {log_in(run)[0] for _ in range(25)} == {status}


@pytest.mark.usefixtures("client")
def test_a_code_counts_while_the_issuer_is_asked(
    run: Run, conn: Connection, signed: SignedWith, httpserver: HTTPServer, url: str
) -> None:
    """So of many codes at once no more than the free ones are asked about."""
    levels: list[Any] = []

    def exchange(_: Any) -> Response:
        levels.extend(conn.execute("select level from login_budgets").fetchall())
        return Response(json.dumps({"id_token": signed()}))

    httpserver.expect_request(f"/{url.rpartition('/')[2]}/token").respond_with_handler(exchange)

    assert log_in(run)[0] == 200
    assert levels == [(1.0,)]
    assert conn.execute("select level from login_budgets").fetchall() == [(0.0,)]


def test_without_a_client_no_browser_logs_in_at_the_issuer(run: Run, signed: SignedWith) -> None:
    """And a page of another site begins no session."""
    del signed  # the issuer

    assert ask(run, "operators", "GET", PROVIDER, role=None) == (200, {"openIdConnect": None})
    assert log_in(run)[0] == 404
    assert log_in(run, sec_fetch_site="cross-site")[0] == 403
