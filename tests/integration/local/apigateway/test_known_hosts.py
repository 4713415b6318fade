"""Foreign names and sites are refused by the local gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import urllib3
from websockets.exceptions import InvalidStatus

from tests.gateway.targets import local_gateway

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.gateway.targets import Target

FOREIGN = ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "user@127.0.0.1", "", "[::1", "é"]
KNOWN = ["127.0.0.1", "127.0.0.1:{port}", "LocalHost:{port}", "[::1]:{port}", "localhost:1", "dispatcher.example:8443"]


@pytest.fixture(scope="module")
def known() -> Generator[Target]:
    """A gateway that has another name as well."""
    with local_gateway(hosts=["Dispatcher.example"]) as target:
        yield target


def ask(target: Target, method: str, host: str | None = None, origin: str | None = None) -> urllib3.BaseHTTPResponse:
    """Send a request with these headers; `{port}` is the gateway's."""
    port = target.http.rpartition(":")[2]
    given = {"Host": host, "Origin": origin}
    headers = {name: value.replace("{port}", port) for name, value in given.items() if value is not None}
    return urllib3.request(method, f"{target.http}/pets/dog", headers=headers)


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused(known: Target, host: str) -> None:
    """DNS rebinding: a page's own name leads to this machine."""
    answer = ask(known, "GET", host=host.encode().decode("latin-1"))

    assert answer.status == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert "DISPATCHER_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", KNOWN)
def test_a_known_host_is_served(known: Target, host: str) -> None:
    """This machine at any port, which a tunnel or a proxy may change, and the names that were given."""
    assert ask(known, "GET", host=host).status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_a_foreign_page_may_not_change_anything(known: Target, origin: str) -> None:
    """It may read what needs no credentials, as any page may try."""
    refused = ask(known, "POST", origin=origin)

    assert refused.status == 403
    assert refused.json()["title"] == "Forbidden"
    assert ask(known, "GET", origin=origin).status == 200


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "http://localhost:3000", "https://dispatcher.example"])
def test_a_page_of_this_machine_may(known: Target, origin: str) -> None:
    """The operators' page is one."""
    assert ask(known, "POST", origin=origin).status == 200


def test_a_foreign_page_opens_no_socket(known: Target) -> None:
    """A browser lets every page open sockets to every host: only the server can refuse."""
    with pytest.raises(InvalidStatus) as refused:
        known.open("agent", origin="https://evil.example")

    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["status"] == 403
    with known.connected("agent", origin="http://localhost"):
        pass
