"""Attempts that ended without effect: their commands return to the queue, in order, or are dead-lettered."""

from collections.abc import Sequence

from dispatcher.platform.database import Connection
from dispatcher.platform.statements import statement
from dispatcher.protocol.frames import ClaimedCommand

# Each query names the attempts that end: command_id, attempt, cause.
_UNSENT = statement(
    __package__,
    "return_to_queue",
    attempts="""
    select command_id, attempt, %(cause)s::text as cause
    from unnest(%(command_ids)s::text[], %(attempts)s::int[]) as unsent (command_id, attempt)
    """,
)
_SUPERSEDED = statement(
    __package__,
    "return_to_queue",
    attempts="""
    select s.command_id, s.attempt,
        'attempt ' || s.attempt || ' was not acknowledged before the agent reconnected' as cause
    from agent_commands s
    where s.agent_id = %(agent_id)s
      and s.status = 'sent'
      and (s.epoch is null or s.epoch < %(epoch)s)
    """,
)
# An agent that executes in its read loop cannot acknowledge at the same time.  So while it executes a command of the same
# connection, a missing ack of the next command does not count.
_UNACKNOWLEDGED = statement(
    __package__,
    "return_to_queue",
    attempts="""
    select s.command_id, s.attempt, 'attempt ' || s.attempt || ' was not acknowledged in time' as cause
    from agent_commands s
    where s.status = 'sent'
      and s.ack_deadline <= now()
      and not exists (
        select from agent_commands busy
        join agents a on a.agent_id = busy.agent_id and a.epoch = busy.epoch
        where busy.agent_id = s.agent_id
          and busy.status = 'acknowledged'
          and busy.epoch = s.epoch
          and busy.execution_deadline > now()
          and a.connection_id is not null)
    order by s.ack_deadline
    limit %(limit)s
    for update of s skip locked
    """,
)


def return_unsent(conn: Connection, unsent: Sequence[ClaimedCommand], cause: str) -> int:
    """End attempts that were not posted; return how many commands moved."""
    parameters = {
        "cause": cause,
        "command_ids": [command.command_id for command in unsent],
        "attempts": [command.attempt for command in unsent],
    }
    return conn.execute(_UNSENT, parameters).rowcount


def return_superseded(conn: Connection, agent_id: str, epoch: int) -> int:
    """End attempts that went over the agent's older connections without an ack; return how many commands moved."""
    return conn.execute(_SUPERSEDED, {"agent_id": agent_id, "epoch": epoch}).rowcount


def return_unacknowledged(conn: Connection, limit: int) -> int:
    """End up to `limit` attempts that were not acknowledged in time; return how many commands moved."""
    return conn.execute(_UNACKNOWLEDGED, {"limit": limit}).rowcount
