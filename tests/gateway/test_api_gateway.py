"""The behaviour of API Gateway, tested on every gateway that imitates it, and on a real deployment.

GATEWAY=ministack asks a ministack, as `make localstack` does.  For AWS deploy the stage with
`sam deploy --guided -t tests/gateway/stage/template.yaml`, set GATEWAY=deployment and name the stack in GATEWAY_STACK.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.gateway.targets import PATIENCE, identity_of, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from websockets.sync.client import ClientConnection

    from tests.gateway.targets import Target

LIMIT = 128 * 1024
FRAME = 32 * 1024
NAMED = ('{"type": "special"}', r'{"type": "sp\u0065cial"}', r'{"\u0074ype": "special"}')
"""Messages for the route `special`."""


# ── HTTP APIs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "route", "parameters"),
    [
        ("GET", "/pets/dog/1", "GET /pets/dog/1", None),
        ("GET", "/pets/dog/2", "GET /pets/dog/{id}", {"id": "2"}),
        ("GET", "/pets/cat/3/tail", "GET /pets/{proxy+}", {"proxy": "cat/3/tail"}),
        ("PUT", "/pets/dog/1", "ANY /pets/{proxy+}", {"proxy": "dog/1"}),
        ("POST", "/pets/dog/commands", "POST /pets/{kind}/commands", {"kind": "dog"}),
        ("DELETE", "/pets/dog/commands", "ANY /pets/{proxy+}", {"proxy": "dog/commands"}),
        ("GET", "/", "$default", None),
        ("PATCH", "/elsewhere/x", "$default", None),
    ],
)
def test_the_most_specific_route_is_chosen(
    target: Target, method: str, path: str, route: str, parameters: dict[str, str] | None
) -> None:
    """Exact before variable before greedy before $default, a method before ANY."""
    event = target.echo(method, path)

    assert (event["routeKey"], event.get("pathParameters")) == (route, parameters)


def test_an_http_event_has_payload_format_two(target: Target) -> None:
    """Header names in lower case, a parsed query, a complete context."""
    event = target.echo(
        "GET",
        "/pets/dog/2?a=1&a=2&b=%20x",
        headers={"X-Mixed-Case": "Value", "User-Agent": "agent/1"},
    )

    assert event["version"] == "2.0"
    assert event["rawPath"] == "/pets/dog/2"
    assert event["rawQueryString"] in {"a=1&a=2&b=%20x", "a=1&a=2&b=+x"}
    assert event["queryStringParameters"] == {"a": "1,2", "b": " x"}
    assert event["headers"]["x-mixed-case"] == "Value"
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert {"accountId", "apiId", "domainName", "requestId", "time", "timeEpoch"} <= context.keys()
    assert (context["stage"], context["routeKey"]) == ("$default", "GET /pets/dog/{id}")
    asked = context["http"]
    assert (asked["method"], asked["path"], asked["userAgent"]) == ("GET", "/pets/dog/2", "agent/1")
    assert asked["protocol"].startswith("HTTP/")
    assert asked["sourceIp"]


def test_cookies_are_separate_from_the_headers(target: Target) -> None:
    """In the list `cookies`."""
    event = target.echo("GET", "/x", headers={"Cookie": "one=1; two=2"})

    assert event["cookies"] == ["one=1", "two=2"]
    assert "cookie" not in event["headers"]


def test_a_body_of_json_is_text_and_one_of_bytes_is_base64(target: Target) -> None:
    """The content type decides."""
    text = target.echo("POST", "/x", '{"a": "ü"}'.encode(), {"Content-Type": "application/json"})
    raw = target.echo("POST", "/x", b"\x00\xff", {"Content-Type": "application/octet-stream"})

    assert (text["body"], text["isBase64Encoded"]) == ('{"a": "ü"}', False)
    assert (base64.b64decode(raw["body"]), raw["isBase64Encoded"]) == (b"\x00\xff", True)


def test_an_http_authorizers_context_reaches_the_function(target: Target) -> None:
    """Under `authorizer.lambda`, with unchanged types; the authorizer sees the route."""
    event = target.echo("GET", "/keyed", headers={"X-Key": "yes"})

    assert event["requestContext"]["authorizer"]["lambda"] == {"role": "operator", "level": 3, "asked": "ANY /keyed"}


def test_an_http_authorizer_without_an_identity_source_gets_every_request(target: Target) -> None:
    """Also a request without `Authorization`: the dispatcher answers it with its own problem document."""
    event = target.echo("GET", "/guarded", headers={"X-Key": "yes"})

    assert event["requestContext"]["authorizer"]["lambda"]["role"] == "operator"


@pytest.mark.parametrize(("key", "status"), [("no", 403), (None, 401), ("unknown", 500)])
def test_an_http_authorizer_refuses(target: Target, key: str | None, status: int) -> None:
    """403 if it denies, 401 without the identity source, 500 if it fails; the function does not run."""
    response, body = target.ask("GET", "/keyed", headers={"X-Key": key} if key else {})

    assert response.status == status
    assert json.loads(body).keys() == {"message"}


def test_an_answer_without_a_status_is_json(target: Target) -> None:
    """The whole return value is the body."""
    response, body = target.answer({"any": ["thing"]})

    assert (response.status, response.getheader("content-type")) == (200, "application/json")
    assert json.loads(body) == {"any": ["thing"]}


def test_an_answer_keeps_its_status_headers_cookies_and_bytes(target: Target) -> None:
    """As payload format 2.0 says."""
    response, body = target.answer(
        {
            "statusCode": 418,
            "headers": {"X-Tea": "yes", "Content-Type": "application/problem+json"},
            "cookies": ["a=1", "b=2"],
            "body": base64.b64encode(b"\xff\x00").decode(),
            "isBase64Encoded": True,
        },
    )

    assert (response.status, body) == (418, b"\xff\x00")
    assert response.getheader("x-tea") == "yes"
    assert response.getheader("content-type") == "application/problem+json"
    assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]


def test_a_failing_function_is_an_internal_server_error(target: Target) -> None:
    """500, with API Gateway's own message."""
    response, body = target.ask("GET", "/raise")

    assert (response.status, json.loads(body)) == (500, {"message": "Internal Server Error"})


def test_the_error_of_a_failing_function_does_not_reach_the_client(target: Target) -> None:
    """With any status of 500 or more."""
    response, body = target.ask("GET", "/raise")

    assert response.status >= 500
    assert b"secret" not in body


# ── Handshakes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_connect_event_contains_the_client_and_its_authorization(target: Target) -> None:
    """The context, the query, the headers, and the authorizer's values, each as a string."""
    with target.open("connecting", wish="nothing") as socket:
        hello = report(socket)

    event = hello["event"]
    context = event["requestContext"]
    assert (context["eventType"], context["routeKey"], context["stage"]) == ("CONNECT", "$connect", "live")
    assert {"connectionId", "connectedAt", "requestId", "apiId", "domainName", "requestTimeEpoch"} <= context.keys()
    assert context["identity"]["sourceIp"]
    assert context["identity"]["userAgent"] == "agent/1"
    assert event["queryStringParameters"] == {"agent_id": "connecting", "wish": "nothing"}
    assert event["multiValueQueryStringParameters"] == {"agent_id": ["connecting"], "wish": ["nothing"]}
    assert {name.lower(): value for name, value in event["headers"].items()}["x-agent-api-key"] == "a key"
    authorizer = context["authorizer"]
    assert (authorizer["principalId"], authorizer["agent"]) == ("connecting", "connecting")
    assert (authorizer["number"], authorizer["flag"], authorizer["type"]) == ("7", "true", "REQUEST")
    assert authorizer["methodArn"].endswith("/live/$connect")


def test_a_header_of_a_handshake_keeps_its_case(target: Target) -> None:
    """Go's client sends X-Agent-Api-Key, so functions must look for it in any case."""
    with target.open("headers") as socket:
        hello = report(socket)

    assert "X-Agent-Api-Key" in hello["event"]["headers"]


@pytest.mark.parametrize(
    ("agent", "status"),
    [
        pytest.param("denied", 403, id="the authorizer denies"),
        pytest.param("broken", 500, id="the authorizer returns no policy"),
        pytest.param("", 401, id="there is no identity source, and the authorizer is not asked"),
    ],
)
def test_an_authorizer_refuses_a_handshake(target: Target, agent: str, status: int) -> None:
    """`$connect` does not run."""
    assert _refusal(target, agent) == status


def test_an_authorizer_that_raises_unauthorized_is_401(target: Target) -> None:
    """It is the only exception with a special meaning."""
    assert _refusal(target, "unauthorized") == 401


@pytest.mark.parametrize("wish", ["refuse", "raise"])
def test_a_connect_that_fails_refuses_the_handshake(target: Target, wish: str) -> None:
    """By its status or by an exception."""
    assert _refusal(target, "refused", wish=wish) >= 400


def test_a_refusal_of_connect_keeps_its_status(target: Target) -> None:
    """The client gets the status that `$connect` returned."""
    assert _refusal(target, "refused", wish="refuse") == 418


def test_a_subprotocol_that_connect_chooses_is_agreed(target: Target) -> None:
    """`$connect` chooses it in a header of its answer."""
    with target.open(
        "choosing", subprotocols=[Subprotocol("first"), Subprotocol("second")], wish="subprotocol"
    ) as socket:
        assert socket.subprotocol == Subprotocol("second")


# ── Messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_event_contains_the_message_and_its_sender(target: Target) -> None:
    """The body as it was sent, the connection and its authorizer's context, an id of the message."""
    with target.connected("talking") as (socket, identity):
        socket.send('{"type": "unknown", "text": "grüße"}')
        told = report(socket)

    event, context = told["event"], told["event"]["requestContext"]
    assert told["function"] == "Message"
    assert (event["body"], event["isBase64Encoded"]) == ('{"type": "unknown", "text": "grüße"}', False)
    assert (context["eventType"], context["routeKey"]) == ("MESSAGE", "$default")
    assert context["messageId"]
    assert context["connectionId"] == identity
    assert context["authorizer"]["agent"] == "talking"


def test_the_selected_property_chooses_the_route(target: Target) -> None:
    """A message without a known type, or that is not JSON, goes to $default."""
    with target.connected("choosing-routes") as (socket, _):
        told: list[str] = []
        for message in (*NAMED, "no json", "[]", '{"text": "special"}', '{"type": "special"'):
            socket.send(message)
            told.append(report(socket)["event"]["requestContext"]["routeKey"])

    assert told == ["special"] * len(NAMED) + ["$default"] * 4


def test_a_message_cannot_choose_the_route_of_a_handshake(target: Target) -> None:
    """`$connect` and `$disconnect` are events, not types that a client may send."""
    with target.connected("pretending") as (socket, _):
        socket.send('{"type": "$disconnect"}')
        socket.send("after it")

        assert report(socket)["event"]["body"] == '{"type": "$disconnect"}'


def test_what_a_route_returns_is_not_sent_to_the_client(target: Target) -> None:
    """It is sent only if there is a RouteResponse."""
    with target.connected("silent") as (socket, _):
        socket.send("answer")
        socket.send("after it")

        assert report(socket)["event"]["body"] == "after it"


def test_the_client_gets_a_message_when_a_route_fails(target: Target) -> None:
    """API Gateway's own message; the socket stays open."""
    with target.connected("failing") as (socket, identity):
        socket.send("raise")
        told = report(socket)
        socket.send("fine")
        after = report(socket)

    assert told["message"] == "Internal server error"
    assert told["connectionId"] == identity
    assert after["event"]["body"] == "fine"


def test_a_failing_route_leaves_the_socket_open(target: Target) -> None:
    """The next message is handled."""
    with target.connected("failing-quietly") as (socket, _):
        socket.send("raise")
        socket.recv(timeout=PATIENCE)
        socket.send("fine")

        assert report(socket)["event"]["body"] == "fine"


def test_a_ping_is_answered_while_a_function_runs(target: Target) -> None:
    """Agents disconnect without a pong."""
    with target.connected("pinging") as (socket, _):
        socket.send("warm-up")
        report(socket)
        socket.send("slow")
        began = time.monotonic()
        answered = socket.ping().wait(PATIENCE)
        waited = time.monotonic() - began
        report(socket)

    assert answered
    assert waited < 0.5


def test_a_message_of_128_kb_arrives(target: Target) -> None:
    """In frames of 32 KB."""
    with target.connected("long") as (socket, _):
        socket.send(["x" * FRAME] * 4)

        assert report(socket)["event"]["body"] == LIMIT


def test_a_message_of_more_than_128_kb_closes_with_1009(target: Target) -> None:
    """In frames that are short enough."""
    with target.connected("too-long") as (socket, _):
        _send_too_much(socket, [*["x" * FRAME] * 4, "x"])

        assert _close_code(socket) == 1009


def test_a_frame_of_more_than_32_kb_closes_with_1009(target: Target) -> None:
    """Also when the message is short enough."""
    with target.connected("too-wide") as (socket, _):
        _send_too_much(socket, "x" * (FRAME + 1))

        assert _close_code(socket) == 1009


# ── @connections ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_connection_does_not_exist_inside_its_connect(target: Target) -> None:
    """410 for each call; once the handshake is done it can be posted to."""
    with target.open("early", wish="post") as socket:
        hello = report(socket)
        target.connections.post_to_connection(ConnectionId=identity_of(hello), Data=b'"now"')

        assert hello["outcomes"] == {"post": 410, "get": 410, "delete": 410}
        assert socket.recv(timeout=PATIENCE) == '"now"'


def test_posts_arrive_in_order_as_text(target: Target) -> None:
    """If each is awaited before the next."""
    with target.connected("posted") as (socket, identity):
        texts = [f"grüße {number}" for number in range(20)]
        for text in texts:
            target.connections.post_to_connection(ConnectionId=identity, Data=text.encode())

        assert [socket.recv(timeout=PATIENCE) for _ in texts] == texts


def test_a_post_of_128_kb_arrives_and_one_byte_more_is_too_large(target: Target) -> None:
    """413: the larger one can never be sent."""
    with target.connected("large") as (socket, identity):
        target.connections.post_to_connection(ConnectionId=identity, Data=b"x" * LIMIT)
        received = socket.recv(timeout=PATIENCE)
        with pytest.raises(target.connections.exceptions.PayloadTooLargeException):
            target.connections.post_to_connection(ConnectionId=identity, Data=b"x" * (LIMIT + 1))

    assert len(received) == LIMIT


def test_a_post_of_100_kb_arrives(target: Target) -> None:
    """Frames of protocol 2 are that long."""
    with target.connected("long-post") as (socket, identity):
        target.connections.post_to_connection(ConnectionId=identity, Data=b"x" * 100_000)

        assert len(socket.recv(timeout=PATIENCE)) == 100_000


def test_get_connection_returns_when_the_connection_was_last_active(target: Target) -> None:
    """The answer also says when it was opened, and by which client."""
    with target.connected("asked") as (_, identity):
        found = target.connections.get_connection(ConnectionId=identity)

    assert found["ConnectedAt"] <= found["LastActiveAt"]
    assert found["Identity"]["UserAgent"] == "agent/1"


def test_get_connection_succeeds_while_the_connection_lives(target: Target) -> None:
    """Flush calls it until a new connection exists."""
    with target.connected("living") as (_, identity):
        found = target.connections.get_connection(ConnectionId=identity)

    assert found["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_closed_connection_is_gone(target: Target) -> None:
    """Like one that never existed: each call raises GoneException."""
    with target.connected("closed") as (_, identity):
        pass
    client = target.connections
    calls = _calls(client)
    _until_gone(client, identity)

    for unknown in (identity, "L0SM9cOFvHcCIhw="):
        for call in calls.values():
            with pytest.raises(client.exceptions.GoneException):
                call(unknown)


def test_delete_connection_closes_the_socket(target: Target) -> None:
    """Normally, with 1000; from then on it is gone."""
    with target.connected("deleted") as (socket, identity):
        answer = target.connections.delete_connection(ConnectionId=identity)
        code = _close_code(socket)
        with pytest.raises(target.connections.exceptions.GoneException):
            target.connections.post_to_connection(ConnectionId=identity, Data=b"x")

    assert answer["ResponseMetadata"]["HTTPStatusCode"] in {200, 204}
    assert code == 1000


# ── The end of a connection ───────────────────────────────────────────────────────────────────────────────────────────


def test_disconnect_runs_once_the_connection_is_gone(target: Target) -> None:
    """With the authorizer's context of the handshake."""
    with target.connected("watching") as (watcher, watching):
        with target.connected("leaving", watcher=watching) as (_, identity):
            pass
        told = report(watcher)

    context = told["event"]["requestContext"]
    assert (told["function"], context["eventType"], context["routeKey"]) == ("Disconnect", "DISCONNECT", "$disconnect")
    assert context["connectionId"] == identity
    assert context["authorizer"]["agent"] == "leaving"
    assert told["outcomes"] == {"post": 410, "get": 410, "delete": 410}


def test_a_disconnect_event_contains_the_clients_close_code(target: Target) -> None:
    """The event also has the reason."""
    with target.connected("watching-codes") as (watcher, watching):
        with target.connected("tired", watcher=watching) as (socket, _):
            socket.close(4321, "tired")
        context = report(watcher)["event"]["requestContext"]

    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (4321, "tired")


def test_a_connection_that_is_deleted_is_disconnected_too(target: Target) -> None:
    """Its `$disconnect` runs, as if the client had closed it."""
    with (
        target.connected("watching-deleted") as (watcher, watching),
        target.connected("thrown-out", watcher=watching) as (_, identity),
    ):
        target.connections.delete_connection(ConnectionId=identity)
        told = report(watcher)

    assert told["event"]["requestContext"]["connectionId"] == identity


# ── Lambda ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_asynchronous_invocation_is_accepted_with_202(target: Target) -> None:
    """The reports of handshakes in these tests show that the function runs."""
    answer = target.functions.invoke(FunctionName=target.later, InvocationType="Event", Payload=b"{}")

    assert answer["StatusCode"] == 202


def test_a_synchronous_invocation_returns_what_the_function_returns(target: Target) -> None:
    """If the function fails, the call succeeds and returns the error."""
    good = target.functions.invoke(FunctionName=target.later, Payload=b'{"a": 1}')
    bad = target.functions.invoke(FunctionName=target.later, Payload=b'{"fail": true}')

    assert (good["StatusCode"], "FunctionError" in good, _payload(good)) == (200, False, {"given": {"a": 1}})
    assert (bad["StatusCode"], bad["FunctionError"]) == (200, "Unhandled")


def test_a_failed_invocation_names_the_exception(target: Target) -> None:
    """The result also has the exception's message."""
    failed = _payload(target.functions.invoke(FunctionName=target.later, Payload=b'{"fail": true}'))

    assert (failed["errorType"], failed["errorMessage"]) == ("ValueError", "a secret")


def test_an_unknown_function_is_not_found(target: Target) -> None:
    """The call is refused before an event is accepted."""
    for kind in ("Event", "RequestResponse"):
        with pytest.raises(target.functions.exceptions.ResourceNotFoundException):
            target.functions.invoke(FunctionName="nobody", InvocationType=kind, Payload=b"{}")


def _refusal(target: Target, agent: str, *, wish: str = "") -> int:
    """Return the status that a handshake is refused with."""
    with pytest.raises(InvalidStatus) as refused, target.open(agent, wish=wish):
        pass
    return refused.value.response.status_code


def _send_too_much(socket: ClientConnection, message: str | list[str]) -> None:
    """Send a message that the gateway refuses; it may close the socket while the client is still sending."""
    with contextlib.suppress(ConnectionClosed):
        socket.send(message)


def _close_code(socket: ClientConnection) -> int:
    """Wait until the gateway closes the socket; return its code."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def _calls(client: Any) -> dict[str, Callable[[str], Any]]:
    return {
        "post": lambda identity: client.post_to_connection(ConnectionId=identity, Data=b"x"),
        "get": lambda identity: client.get_connection(ConnectionId=identity),
        "delete": lambda identity: client.delete_connection(ConnectionId=identity),
    }


def _until_gone(client: Any, identity: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client.get_connection(ConnectionId=identity)
        except client.exceptions.GoneException:
            return
        time.sleep(0.05)


def _payload(answer: Mapping[str, Any]) -> Any:
    with answer["Payload"] as payload:
        return json.loads(payload.read())
