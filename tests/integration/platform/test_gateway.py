"""The @connections client: what each answer of API Gateway means."""

from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from dispatcher.platform import gateway as gateway_module
from dispatcher.platform.gateway import ApiGateway, Posted

SILENCE = 0
"""Instead of a status: no answer."""
UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client for this test only."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    gateway_module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    yield
    gateway_module._client.cache_clear()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("status", "posted"),
    [
        (200, Posted.TAKEN),
        (410, Posted.GONE),
        (413, Posted.TOO_LARGE),
        (429, Posted.REFUSED),
        (403, Posted.REFUSED),
        (500, Posted.REFUSED),
        (503, Posted.REFUSED),
        (SILENCE, Posted.UNKNOWN),
    ],
)
def test_each_answer_has_its_outcome_and_nothing_is_posted_twice(
    httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, status: int, posted: Posted
) -> None:
    """Only a 410 says that a connection is gone; without an answer the message may have arrived."""
    posts: list[bytes] = []

    def answer(request: Request) -> Response:
        posts.append(request.data)
        if status == SILENCE:
            request.environ["werkzeug.socket"].recv(1)  # until the client stops waiting
        return Response(status=status or 200)

    httpserver.expect_request("/@connections/c1", method="POST").respond_with_handler(answer)
    if status == SILENCE:
        monkeypatch.setattr(gateway_module, "READ_SECONDS", 0.3)

    assert ApiGateway(httpserver.url_for("")).post("c1", "{}") == posted
    assert posts == [b"{}"]


def test_a_post_to_an_unreachable_gateway_is_not_accepted() -> None:
    """Nothing listens on that port."""
    assert ApiGateway(UNREACHABLE).post("c1", "{}") is Posted.REFUSED


def test_a_connection_is_not_live_unless_the_gateway_confirms_it(httpserver: HTTPServer) -> None:
    """A post that comes too early loses the connection; flush asks again."""
    httpserver.expect_request("/@connections/c1", method="GET").respond_with_data(status=410)

    assert not ApiGateway(httpserver.url_for("")).is_live("c1")
    assert not ApiGateway(UNREACHABLE).is_live("c1")
