"""Label limits: which agents an operator may see.  Each query applies them; no code filters afterwards."""

from collections.abc import Mapping

from psycopg.types.json import Jsonb

Scope = Mapping[str, str] | None
"""The labels that an agent must carry to be visible; None: every agent is visible."""

# The fragments that queries share; their parameter is `scope`.  IN_SCOPE is for an agent under the alias `a` where there is a
# limit, AGENT_IN_SCOPE also where there is none.  OWNER_IN_SCOPE is for commands and sessions under the alias `c`, through
# their agent.  A command for an agent that does not exist, or for an earlier agent of the same id, is visible only without a
# limit.
IN_SCOPE = "a.labels @> %(scope)s::jsonb"
AGENT_IN_SCOPE = f"(%(scope)s::jsonb is null or {IN_SCOPE})"
OWNER_IN_SCOPE = f"""(%(scope)s::jsonb is null or exists (
    select from agents a
    where a.agent_id = c.agent_id
      and (c.incarnation is null or c.incarnation = a.incarnation)
      and {IN_SCOPE}))"""


def as_parameter(scope: Scope) -> Jsonb | None:
    """Return the scope as a query parameter."""
    return None if scope is None else Jsonb(dict(scope))


def covers(scope: Scope, other: Scope) -> bool:
    """Tell whether every agent that is visible in `other` is visible in `scope`."""
    return scope is None or (other is not None and scope.items() <= other.items())
