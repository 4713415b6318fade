"""What an operator's labels admit, decided in the query and not after it."""

from collections.abc import Mapping

from psycopg.types.json import Jsonb

Scope = Mapping[str, str] | None
"""The labels that an agent must carry to be seen; None: every agent is."""

# Agents under the alias `a`; commands and sessions under `c`, through their agent.  A command whose agent nobody has
# provided is seen only by those who see all.
AGENT = "(%(scope)s::jsonb is null or a.labels @> %(scope)s::jsonb)"
OF_AGENT = """(%(scope)s::jsonb is null or exists (
    select from agents a where a.agent_id = c.agent_id and a.labels @> %(scope)s::jsonb))"""


def as_parameter(scope: Scope) -> Jsonb | None:
    """Return the scope as the queries want it."""
    return None if scope is None else Jsonb(dict(scope))
