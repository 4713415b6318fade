"""The agents that a label limit and a selector mean together."""

from typing import Any

from dispatcher.access.scopes import IN_SCOPE, Scope
from dispatcher.agents.selectors import Selector
from dispatcher.platform.database import Connection


def conditions_of(scope: Scope, selector: Selector | None) -> list[str]:
    """Return the conditions on the labels of an agent `a`; their parameters are `scope`, and those of the selector."""
    conditions = [selector.condition] if selector else []
    if scope is not None:
        conditions.append(IN_SCOPE)
    return conditions


def find_few(
    conn: Connection, scope: Scope, selector: Selector | None, parameters: dict[str, Any], most: int
) -> list[str] | None:
    """Return the ids of these agents, deleted ones too; None: they are more than `most`, or no index finds them."""
    if not (scope or (selector and selector.finds)):
        return None
    conditions = " and ".join(conditions_of(scope, selector))
    rows = conn.execute(
        f"select a.agent_id from agents a where {conditions} limit {most + 1}".encode(), parameters
    ).fetchall()
    return [agent_id for (agent_id,) in rows] if len(rows) <= most else None
