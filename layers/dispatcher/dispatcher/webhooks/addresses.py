"""Where a webhook may lead: the form of its URL, and which addresses are public.

The URL comes from an operator, and the sender must not become a way into networks that the operator cannot reach.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

MOST_CHARACTERS = 2048
HTTPS_PORT = 443
FIRST_FREE_PORT = 1024
"""Below it are the ports of other protocols, apart from that of HTTPS."""

_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
"""A host's name in lower case.  Its last part begins with a letter: `127.1` and `0x7f000001` are addresses in old notations."""

# Python calls some of these global: a translator or a relay leads from there to any address.
_RELAYS = IPv4Network("192.88.99.0/24")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_TUNNELS = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocols of the IETF, among them Teredo
        "2001:db8::/32",  # for documents
        "2002::/16",  # 6to4: an IPv4 address within
        "3fff::/20",  # for documents
    )
)


class BadUrl(ValueError):
    """The URL cannot be that of a webhook; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The parts of a webhook's URL."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""


def target_of(url: str, *, private: bool) -> Target:
    """Read a webhook's URL; raises BadUrl.

    `private` allows http, every port and addresses that are not public.  A name is resolved only when the sender connects: it
    may lead elsewhere by then.
    """
    if len(url) > MOST_CHARACTERS or not all("!" <= character <= "~" for character in url):
        raise BadUrl(f"a URL has at most {MOST_CHARACTERS} characters, all of them printable ASCII without spaces")
    try:
        parts = urlsplit(url)
        given_port = parts.port
    except ValueError:
        raise BadUrl("this is no URL, or its port is no port") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise BadUrl("a URL begins with https://")
    if not parts.hostname or "@" in parts.netloc or parts.fragment or "\\" in url:
        raise BadUrl("a URL has a host, and neither a user nor a fragment nor a backslash")
    port = given_port if given_port is not None else HTTPS_PORT if parts.scheme == "https" else 80
    if not private:
        _require_public(parts.hostname, port)
    path = parts.path or "/"
    return Target(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        path=f"{path}?{parts.query}" if parts.query else path,
    )


def is_public(address: str) -> bool:
    """Tell whether an address, in the form of a socket's peer, is one that everybody reaches over the internet."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _is_public_4(found) if isinstance(found, IPv4Address) else _is_public_6(found)


def _is_public_4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in _RELAYS


def _is_public_6(address: IPv6Address) -> bool:
    """Only global unicast: no mapped or translated IPv4 address, nothing local, no multicast."""
    return address.is_global and address in _GLOBAL_UNICAST and not any(address in tunnel for tunnel in _TUNNELS)


def _require_public(host: str, port: int) -> None:
    if port != HTTPS_PORT and port < FIRST_FREE_PORT:
        raise BadUrl(f"a port is {HTTPS_PORT}, or {FIRST_FREE_PORT} and above")
    name = host.removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        raise BadUrl("the host is this machine; webhooks lead to public addresses")
    try:
        ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(name):
            raise BadUrl("the host is neither a name nor an address in its usual notation") from None
        return
    if not is_public(host):
        raise BadUrl("the address is not public")
