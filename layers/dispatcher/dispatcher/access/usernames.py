"""The form of operators' names: one way to write each name, and none that looks like another actor."""

import re
import unicodedata

from dispatcher.errors import Unprocessable

_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
# The audit log names other actors with these words: `agent edge-1`, `system`, `oidc:…`.
_RESERVED = frozenset(
    {"agent", "agents", "anonymous", "dispatcher", "nobody", "oidc", "root", "service", "system", "unknown"}
)


def normalized(name: str) -> str:
    """Return a name in its one form: NFC, without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def require_form(name: str) -> None:
    """Raise Unprocessable for a name that a new operator cannot have."""
    if not _FORM.fullmatch(name):
        raise _refused("has 1 to 128 ASCII letters, digits or ._@+- and begins with a letter or digit")
    if name.lower() in _RESERVED:
        raise _refused("is none of the words that name other actors in the audit log")


def _refused(rule: str) -> Unprocessable:
    return Unprocessable(
        f"path/username: a username {rule}.", errors=[{"at": "path/username", "is": f"A username {rule}"}]
    )
