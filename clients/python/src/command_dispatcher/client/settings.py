"""What both clients send with each request."""

from command_dispatcher import __version__

TIMEOUT = 30.0
"""Seconds for each attempt of a request; the service answers within 29."""
CONNECT_TIMEOUT = 5.0
"""Seconds until a network that swallows everything counts as no answer."""
USER_AGENT = f"agent-command-dispatcher/{__version__}"


def authorization(token: str | None) -> dict[str, str]:
    """Return the header that shows an operator's token."""
    return {"authorization": f"Bearer {token}"} if token else {}
