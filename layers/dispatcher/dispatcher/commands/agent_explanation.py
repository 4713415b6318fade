"""Explains why an agent has nothing delivered: one reason, and what would unblock it."""

from dataclasses import dataclass

from psycopg.rows import dict_row

from dispatcher.access.scopes import Scope
from dispatcher.agents import registry
from dispatcher.commands import explanation
from dispatcher.commands.explanation import Why
from dispatcher.platform.database import Connection
from dispatcher.platform.functions import call

_STATE = call(
    """
    select
        true as known,
        a.connection_id,
        a.last_seen_at,
        {f}.is_mute(a) as mute,
        a.refusals,
        a.refused_since,
        a.throttled_until,
        a.throttled_until > now() as throttled
    from agents a
    where a.agent_id = %s
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReason:
    """A code for programs, a sentence for people, and what would end it; None: time, or nothing has to."""

    agent_id: str
    reason: str
    sentence: str
    unblock: str | None


def explain(conn: Connection, agent_id: str, scope: Scope) -> AgentReason:
    """Compute the reason from the rows as they are now; raises UnknownAgent."""
    agent = registry.find(conn, agent_id, scope)
    next_id = _next_command(conn, agent_id)
    row = explanation.diagnostics(conn, next_id) if next_id is not None else None
    if row is not None and row["status"] == "pending":
        why = explanation.of_pending(row)
        if why.reason in {"expired", "not-before", "paced", "due", "being-delivered"}:
            why = Why(reason=why.reason, sentence=f"Command {next_id} is next. {why.sentence}", unblock=why.unblock)
    else:
        why = _without_commands(conn, agent_id, agent.approval)
    return AgentReason(agent_id=agent_id, reason=why.reason, sentence=why.sentence, unblock=why.unblock)


def _next_command(conn: Connection, agent_id: str) -> str | None:
    """Return the command that is delivered next: of those that are due the first, otherwise the one that is due first."""
    row = conn.execute(
        """
        select q.command_id
        from (
            select c.command_id, c.priority, c.seq, greatest(c.not_before, c.retry_at, now()) as due_at
            from agent_commands c
            where c.agent_id = %(agent_id)s
              and c.status = 'pending'
            order by c.priority desc, c.seq
            limit %(most)s) as q
        order by q.due_at, q.priority desc, q.seq
        limit 1
        """,
        {"agent_id": agent_id, "most": explanation.MOST},
    ).fetchone()
    return row[0] if row else None


def _without_commands(conn: Connection, agent_id: str, approval: str) -> Why:
    if approval != "approved":
        return Why(
            reason="agent-not-approved",
            sentence=f"Agent {agent_id!r} is {approval}; nothing waits for it.",
            unblock=f"An admin calls POST /api/v1/agents/{agent_id}/approve.",
        )
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_STATE, (agent_id,)).fetchone()
    reasons = explanation.of_agent(f"Agent {agent_id!r}", row) if row else []
    nothing = Why(reason="nothing-pending", sentence="Nothing waits for the agent.", unblock="Submit a command.")
    return next((why for holds, why in reasons if holds), nothing)
