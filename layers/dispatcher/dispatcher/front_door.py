"""Whether a request came through the front door, where there is one."""

import hmac
from collections.abc import Mapping

from dispatcher import settings

HEADER = "x-origin-secret"


def passed(headers: Mapping[str, str]) -> bool:
    """Tell whether these headers, named in small letters, show what only the front door knows; without one, all do.

    Whoever goes around it goes around its firewall too.
    """
    secret = settings.origin_secret()
    return secret is None or hmac.compare_digest(headers.get(HEADER, "").encode(), secret.encode())
