"""The ids that new agents may have: each can be named in a path, and none collides with one."""

import re

from dispatcher.errors import Unprocessable

_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
# /api/v1/agents/connect and /api/v1/agents/register are paths of the service.
RESERVED = frozenset({"connect", "register"})


def require_nameable(agent_id: str, *, at: str = "agentId") -> None:
    """Raise Unprocessable for an id that no new agent may have.  Agents that exist keep theirs."""
    if not _FORM.fullmatch(agent_id) or ".." in agent_id:
        raise _refused(
            at, "has 1 to 128 ASCII letters, digits or ._:@-, begins with a letter or digit, and has no '..'"
        )
    if agent_id.lower() in RESERVED:
        raise _refused(at, f"is none of the service's own paths: {', '.join(sorted(RESERVED))}")


def _refused(at: str, rule: str) -> Unprocessable:
    return Unprocessable(f"{at}: an agent's id {rule}.", errors=[{"at": at, "is": f"An agent's id {rule}"}])
