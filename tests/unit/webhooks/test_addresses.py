"""Which addresses and URLs a webhook may have."""

import pytest

from dispatcher.webhooks.addresses import BadUrl, Target, is_public, target_of


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001:80e::200e"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    """In both families."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.2.1"),  # noqa: S104
        *("192.88.99.1", "192.168.0.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1"),
        *("2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0"),
        *("fec0::1", "ff02::1", "ff0e::1", "nonsense", ""),
    ],
)
def test_no_other_address_is_public(address: str) -> None:
    """Local, private, shared, translated, documentary, multicast."""
    assert not is_public(address)


def test_a_url_is_read_into_its_parts() -> None:
    """The query stays, and the port is known."""
    assert target_of("https://Receiver.example/hooks/1?key=x", private=False) == Target(
        scheme="https", host="receiver.example", port=443, path="/hooks/1?key=x"
    )
    assert target_of("http://127.0.0.1:9000", private=True).port == 9000
    for host in ("xn--bcher-kva.example", "a_b.3.example.", "8.8.8.8"):
        assert target_of(f"https://{host}/", private=False).host == host


@pytest.mark.parametrize(
    "url",
    [
        *("http://receiver.example/", "ftp://receiver.example/", "receiver.example", "https://", "https:///path"),
        *("https://user@receiver.example/", "https://receiver.example/#part", "https://receiver.example:25/"),
        *("https://receiver.example:0/", "https://receiver.example:x/", "https://receiver.example:99999/"),
        *(
            "https://localhost/",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:8.8.8.8]/",
        ),
        *("https://localhost./", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/"),
        *("https://%31%32%37.0.0.1/", "https://.example/", "https://a..example/", "https://-a.example/"),
        *(f"https://{'x' * 64}.example/", f"https://{'x.' * 127}example/"),
        *("https://receiver.example/ x", "https://receiver.example/\r\nX: y", "https://b\u00fccher.example/"),
        *("https://receiver.example\\@127.0.0.1/", "https://receiver.example/" + "x" * 2048),
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """At once, and not only when the first message is sent."""
    with pytest.raises(BadUrl):
        target_of(url, private=False)
