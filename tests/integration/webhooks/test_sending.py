"""The sender, with real receivers: what is sent where, and for how long."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from dispatcher.webhooks import receiver_connection
from dispatcher.webhooks.addresses import Target, target_of
from dispatcher.webhooks.receiver_connection import Internet, ReceiverConnection, RefusedAddress
from dispatcher.webhooks.sending import TOTAL_SECONDS, Message, Outcome, send
from tests.integration.webhooks.receivers import (
    NAME,
    PUBLIC,
    Answer,
    FakeNetwork,
    Receiver,
    certificate_for,
    closing,
    drip,
    drip_headers,
    endless,
    receiver,
    redirecting,
    trusting,
)

MESSAGES = [Message(message_id=f"msg_{n}", timestamp=1, signature="v1,x", body=f'{{"n":{n}}}') for n in (1, 2, 3)]
URL = f"https://{NAME}/hooks"
NOT_PUBLIC = "its address is not public"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The only authority that the sender trusts."""
    return trustme.CA()


@pytest.fixture
def plain() -> Iterator[Receiver]:
    """A receiver without TLS."""
    with receiver() as running:
        yield running


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Receiver]:
    """A receiver with a valid certificate."""
    with receiver(certificate_for(authority, NAME)) as running:
        yield running


def send_privately(to: Receiver, total_seconds: float = TOTAL_SECONDS) -> list[Outcome]:
    """Send the messages to a receiver on this machine."""
    return send(to.url, MESSAGES, Internet(), private=True, total_seconds=total_seconds)


def test_messages_go_one_after_another_over_one_connection(secure: Receiver, authority: trustme.CA) -> None:
    """With their headers, to the address that was checked, with a certificate for the name."""
    network = FakeNetwork(port=secure.port, answers=[[PUBLIC]])

    outcomes = send(URL, MESSAGES, network, private=False, context=trusting(authority))

    assert [outcome.status for outcome in outcomes] == [204, 204, 204]
    assert [(each.message_id, each.body) for each in secure.received] == [(m.message_id, m.body) for m in MESSAGES]
    assert network.connected == [PUBLIC]
    assert secure.received[0].headers["host"] == NAME
    assert secure.received[0].headers["webhook-timestamp"] == "1"


def test_a_body_does_not_wait_for_the_ack_of_its_headers(plain: Receiver) -> None:
    """That would be 40 ms for each message."""
    target = target_of(plain.url, private=True)
    with contextlib.closing(ReceiverConnection(target, Internet(), private=True, context=None)) as connection:
        connection.post(b"{}", {}, 5)

        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_after_a_message_that_is_not_accepted_the_others_wait(plain: Receiver) -> None:
    """They are not tried, so that no message overtakes another."""
    plain.answers = [200, 500]

    outcomes = send_privately(plain)

    assert [(outcome.status, outcome.error) for outcome in outcomes] == [(200, None), (500, "it answered 500")]
    assert len(plain.received) == 2


def test_a_redirect_is_not_followed(plain: Receiver) -> None:
    """It could lead past the check of the address."""
    with receiver() as other:
        plain.answers = [redirecting(other.url)]

        [outcome] = send_privately(plain)

    assert outcome.error == "it answered 307; redirects are not followed"
    assert other.received == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
)
def test_a_name_that_leads_to_an_address_that_is_not_public_is_refused(plain: Receiver, address: str) -> None:
    """Also beside a public one; nothing is connected to."""
    for addresses in ([address], [PUBLIC, address]):
        network = FakeNetwork(port=plain.port, answers=[addresses])

        [outcome] = send(URL, MESSAGES, network, private=False)

        assert outcome.error == NOT_PUBLIC
        assert network.connected == []


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "[::ffff:7f00:1]", "0"])
def test_this_machine_in_another_spelling_is_refused(plain: Receiver, host: str) -> None:
    """The resolver of the system knows them all; the URL is refused, and where it is not, the connection is."""
    [outcome] = send(f"https://{host}:{plain.port}/", MESSAGES, Internet(), private=False)
    target = Target(scheme="https", host=host.strip("[]"), port=plain.port, path="/")
    connection = ReceiverConnection(target, Internet(), private=False, context=None)

    assert outcome.error is not None
    assert outcome.error.startswith("its URL is not allowed")
    with pytest.raises(RefusedAddress):
        connection.connect()
    assert plain.connections == 0


def test_a_resolver_that_does_not_answer_is_left_alone(plain: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Getaddrinfo has no timeout of its own."""
    never = threading.Event()

    def resolve(*_: Any, **__: Any) -> list[Any]:
        never.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(receiver_connection, "CONNECT_SECONDS", 0.05)

    [outcome] = send("https://receiver.example/", MESSAGES, Internet(), private=False)
    never.set()

    assert outcome.error == "it did not answer in time"
    assert plain.connections == 0


def test_a_name_that_leads_elsewhere_later_is_checked_at_each_connect(secure: Receiver, authority: trustme.CA) -> None:
    """DNS rebinding: the receiver closes the connection, and the next look-up says 127.0.0.1."""
    network = FakeNetwork(port=secure.port, answers=[[PUBLIC], ["127.0.0.1"]])
    secure.answers = [closing]

    outcomes = send(URL, MESSAGES, network, private=False, context=trusting(authority))

    assert [outcome.error for outcome in outcomes] == [None, NOT_PUBLIC]
    assert network.connected == [PUBLIC]


def test_the_socket_itself_must_lead_to_a_public_address(secure: Receiver, authority: trustme.CA) -> None:
    """Whatever the look-up said, this one leads to this machine."""
    network = FakeNetwork(port=secure.port, answers=[[PUBLIC]], honest=True)

    [outcome] = send(URL, MESSAGES, network, private=False, context=trusting(authority))

    assert outcome.error == NOT_PUBLIC
    assert secure.received == []


@pytest.mark.parametrize("names", [("other.example",), ()], ids=["another name", "another authority"])
def test_a_certificate_must_be_valid_for_the_name(authority: trustme.CA, names: tuple[str, ...]) -> None:
    """From an authority that is trusted."""
    issuer = authority if names else trustme.CA()
    with receiver(certificate_for(issuer, *(names or (NAME,)))) as wrong:
        network = FakeNetwork(port=wrong.port, answers=[[PUBLIC]])

        [outcome] = send(URL, MESSAGES, network, private=False, context=trusting(authority))

    assert outcome.error is not None
    assert outcome.error.startswith("its certificate is not valid: ")
    assert wrong.received == []


def test_http_and_private_addresses_are_refused_without_the_setting(plain: Receiver) -> None:
    """The setting belongs to the sender, and not to the event."""
    [outcome] = send(plain.url, MESSAGES, Internet(), private=False)

    assert outcome.error == "its URL is not allowed: a URL begins with https://"
    assert plain.received == []


@pytest.mark.parametrize("answer", [drip, drip_headers])
def test_a_receiver_that_answers_byte_by_byte_is_cut_off(plain: Receiver, answer: Answer) -> None:
    """A timeout of the socket would begin anew with each byte; an answer whose headers do not end in time is none."""
    plain.answers = [answer]
    began = time.monotonic()

    [outcome] = send_privately(plain, total_seconds=0.3)

    assert outcome.error == "it did not answer in time"
    assert time.monotonic() - began < 5


def test_an_endless_answer_counts_by_its_status_and_is_not_read(plain: Receiver) -> None:
    """The next message goes over another connection."""
    plain.answers = [endless]

    outcomes = send_privately(plain)

    assert [outcome.status for outcome in outcomes] == [200, 204, 204]
    assert plain.connections == 2


def test_a_connection_that_was_closed_while_it_was_idle_is_no_failure(plain: Receiver) -> None:
    """The message is sent over a new one."""
    plain.answers = [closing]

    assert [outcome.error for outcome in send_privately(plain)] == [None, None, None]


def test_a_dead_receiver_is_told_from_a_slow_one(plain: Receiver) -> None:
    """The reason is for operators."""
    with receiver() as gone:
        pass

    assert [outcome.error for outcome in send_privately(gone)] == ["it refused the connection"]
    plain.answers = [lambda _: time.sleep(1)]
    [outcome] = send_privately(plain, total_seconds=0.2)
    assert outcome.error == "it did not answer in time"


def test_proxies_of_the_environment_are_not_used(plain: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect where it likes."""
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert os.environ["http_proxy"]

        outcomes = send_privately(plain)

    assert [outcome.error for outcome in outcomes] == [None, None, None]
    assert proxy.received == []


def test_a_receiver_says_when_to_come_again(plain: Receiver) -> None:
    """In seconds, and an hour at most."""
    plain.answers = [
        lambda handler: handler.say(503, Retry_After="120"),
        lambda handler: handler.say(429, Retry_After="9" * 9),
    ]

    assert [send_privately(plain)[0].retry_after for _ in range(2)] == [120, 3600]
