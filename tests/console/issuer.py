"""A small OpenID Connect issuer: discovery, keys, a page to log in at, and tokens for codes with PKCE, signed with RS256."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

CLIENT = "dispatcher-page"


class Issuer(ThreadingHTTPServer):
    """The issuer; `claims` are what its next tokens say beside the standard ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.claims: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        """What the browser asked with, for each code that was not exchanged yet."""

    def token(self) -> str:
        """Sign an ID token."""
        now = int(time.time())
        own = {"iss": self.url, "aud": CLIENT, "sub": "night-shift", "iat": now, "exp": now + 600}
        return jwt.encode(own | self.claims, self.key, algorithm="RS256", headers={"kid": "k1"})


class _Request(BaseHTTPRequestHandler):
    @property
    def _issuer(self) -> Issuer:
        return cast("Issuer", self.server)

    def do_GET(self) -> None:
        """Answer the discovery, the keys, and the page to log in at."""
        issuer, path = self._issuer, urlsplit(self.path).path
        if path == "/.well-known/openid-configuration":
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            self._answer(200, {"issuer": issuer.url, **{name: f"{issuer.url}/{name}" for name in names}})
        elif path == "/jwks_uri":
            key = RSAAlgorithm.to_jwk(issuer.key.public_key(), as_dict=True) | {"kid": "k1", "use": "sig"}
            self._answer(200, {"keys": [key]})
        elif path == "/authorization_endpoint":
            asked = dict(parse_qsl(urlsplit(self.path).query))
            assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
            assert asked["code_challenge_method"] == "S256"
            code = secrets.token_urlsafe()
            issuer.codes[code] = asked
            back = {"state": asked["state"]}
            yes, no = (
                f'<p><a href="{asked["redirect_uri"]}?{urlencode(back | said)}">{name}</a></p>'
                for name, said in (("Log me in", {"code": code}), ("Cancel", {"error": "access_denied"}))
            )
            self._answer(200, f"<!doctype html><title>Issuer</title>{yes}{no}", "text/html")
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        """Exchange a code, once, for whoever can prove that they asked for it."""
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        given = {name: values[0] for name, values in body.items()}
        asked = self._issuer.codes.pop(given["code"], {})
        proof = base64.urlsafe_b64encode(hashlib.sha256(given["code_verifier"].encode()).digest()).decode().rstrip("=")
        good = proof == asked.get("code_challenge") and given["redirect_uri"] == asked["redirect_uri"]
        if good and given["client_id"] == CLIENT and given["grant_type"] == "authorization_code":
            self._answer(200, {"id_token": self._issuer.token(), "access_token": "opaque", "token_type": "Bearer"})
        else:
            self._answer(400, {"error": "invalid_grant"})

    def _answer(self, status: int, body: Any, media_type: str = "application/json") -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""


@contextmanager
def issuer() -> Generator[Issuer]:
    """Run an issuer."""
    with Issuer() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()
