"""A small client of the HTTP API, for the demonstration and the tests."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Self
from urllib.request import ProxyHandler, Request

# A proxy of the environment has no business with 127.0.0.1.
_opener = urllib.request.build_opener(ProxyHandler({}))


class Refused(Exception):
    """The API answered with a problem."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title')}: {problem.get('detail')}")
        self.status = status
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """An operator at one dispatcher."""

    url: str
    token: str | None = None

    @classmethod
    def log_in(cls, url: str, username: str, password: str) -> Self:
        """Log in; raises Refused."""
        token = cls(url=url).post("/api/v1/auth/login", {"username": username, "password": password})["token"]
        return cls(url=url, token=token)

    def get(self, path: str) -> Any:
        """Read; raises Refused."""
        return self.call("GET", path)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send; raises Refused."""
        return self.call("POST", path, body, **headers)

    def delete(self, path: str) -> Any:
        """Delete; raises Refused."""
        return self.call("DELETE", path)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Make one request, with `some_header` as Some-Header; return the decoded answer, or raise Refused."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, method=method, data=data)  # noqa: S310 - the dispatcher's own URL
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with _opener.open(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, json.loads(error.read() or b"{}")) from None
