"""A small client of the HTTP API, for the demonstration and the tests."""

from dataclasses import dataclass
from typing import Any, Self

import urllib3

_pool = urllib3.PoolManager(retries=False, timeout=30.0)  # ignores a proxy in the environment


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
        """Make one request, with `some_header` as some-header; return the decoded answer, or raise Refused."""
        sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        answer = _pool.request(method, self.url + path, json=body, headers=sent)
        value = answer.json() if answer.data else None
        if answer.status >= 400:  # noqa: PLR2004 - HTTP's
            raise Refused(answer.status, value or {})
        return value
