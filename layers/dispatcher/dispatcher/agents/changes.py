"""What operators change about an agent: its labels and its region."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.access.scopes import as_parameter
from dispatcher.agents import registry
from dispatcher.agents.enrolment_tokens import require_own_labels
from dispatcher.agents.registry import Agent
from dispatcher.errors import ChangedMeanwhile, NotAllowed, Unprocessable
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps

MOST_LABELS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPatch:
    """A JSON Merge Patch of an agent."""

    labels: Mapping[str, str | None] | None
    """New values by name, None for a label to remove; None instead of the whole: remove all."""
    region: str | None
    changes_region: bool


def version_of(agent: Agent) -> str:
    """Return an ETag of what can be changed about an agent."""
    said = dumps({"labels": dict(sorted(agent.labels.items())), "region": agent.region})
    return f'"{hashlib.sha256(said.encode()).hexdigest()[:16]}"'


def change(
    conn: Connection, agent_id: str, patch: AgentPatch, by: Operator, *, only_if: Collection[str] | None = None
) -> Agent:
    """Change labels and region of an agent; only if it is one of the versions `only_if`.

    Raises UnknownAgent, ChangedMeanwhile, NotAllowed where the operator could not see the agent afterwards, and Unprocessable
    for more than MOST_LABELS labels.
    """
    with conn.transaction():
        # Two patches at the same time change one after the other.
        conn.execute("select from agents where agent_id = %s for no key update", (agent_id,))
        before = registry.find(conn, agent_id, by.scope)
        if only_if is not None and version_of(before) not in only_if:
            raise ChangedMeanwhile("Somebody has changed this agent since you read it.")
        changed = {} if patch.labels is None else {**before.labels, **patch.labels}
        labels = {name: value for name, value in changed.items() if value is not None}
        require_own_labels(labels, by)
        _require_own_side(conn, before.labels, labels, by)
        if len(labels) > MOST_LABELS:
            raise Unprocessable(
                f"body/labels: The agent would have {len(labels)} labels; an agent has {MOST_LABELS} at most.",
                errors=[{"at": "body/labels", "is": f"An agent has {MOST_LABELS} labels at most"}],
            )
        region = patch.region if patch.changes_region else before.region
        conn.execute(
            "update agents set labels = %s, region = %s where agent_id = %s", (Jsonb(labels), region, agent_id)
        )
        detail = {
            "before": {"labels": before.labels, "region": before.region},
            "after": {"labels": labels, "region": region},
        }
        audit_log.record(conn, by.actor, "change agent", agent_id=agent_id, detail=detail)
        return registry.find(conn, agent_id, by.scope)


def _require_own_side(conn: Connection, before: Mapping[str, Any], after: Mapping[str, str], by: Operator) -> None:
    """Raise NotAllowed if the agent would enter or leave the limit of an operator that is not within this one's limit."""
    if by.scope is None:
        return
    foreign = conn.execute(
        """
        select
        from operators o
        where (%(after)s::jsonb @> o.labels) <> (%(before)s::jsonb @> o.labels)
          and not o.labels @> %(scope)s::jsonb
        limit 1
        """,
        {"after": Jsonb(dict(after)), "before": Jsonb(dict(before)), "scope": as_parameter(by.scope)},
    ).fetchone()
    if foreign is not None:
        raise NotAllowed(
            "This would give the agent to, or take it from, operators with another label limit than yours."
        )
