"""Claims: a worker takes commands that are due, and gives back what it could not post."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dispatcher.platform.database import Connection, fetch_all
from dispatcher.platform.functions import call
from dispatcher.platform.gateway import Posted
from dispatcher.platform.hot_statements import HotStatement
from dispatcher.protocol.frames import ClaimedCommand
from dispatcher.protocol.handshake import DeliveryMode

LEASE_SECONDS = 30
"""How long one worker may post to an agent, as `claim.function.sql` has it: longer than the posts of a claim take."""
FIRST_ACK_SECONDS = 18.0
"""The shortest time for the first ack: 20 s less its jitter (`ack_seconds`)."""


class Claim(NamedTuple):
    """The commands that were claimed for one agent, in the order of delivery, and the requests to stop others."""

    agent_id: str
    token: str
    begun: float
    """When it was requested, on this machine's monotonic clock: its lease and its ack deadlines began later."""
    connection_id: str
    epoch: int
    mode: DeliveryMode
    refusals: int
    """Posts in a row that the gateway has refused."""
    commands: tuple[ClaimedCommand, ...]
    stops: tuple[tuple[str, int], ...]
    """Commands that the agent is to stop: id and attempt."""
    received: Sequence[str] = ()
    """Ids of the agent's messages that the first message of commands confirms."""


class Outcome(NamedTuple):
    """The outcome of a claim's posts."""

    posted: Posted = Posted.TAKEN
    """The answer to the last post; TOO_LARGE counts as TAKEN."""
    taken: Sequence[ClaimedCommand] = ()
    """Commands that the gateway took, or may have taken."""
    unsent: Sequence[ClaimedCommand] = ()
    """Commands that surely did not reach the agent: their attempt does not count."""
    unsent_cause: str = ""
    unsendable: Sequence[tuple[ClaimedCommand, str]] = ()
    """Commands that can never be sent, each with the reason."""
    told: Sequence[str] = ()
    """Ids of the commands that the agent was told to stop."""
    confirmed: bool = False
    """Whether a message that the gateway took also said what is received."""


class Row(NamedTuple):
    """A row that the functions `claim`, `go_live`, `release` and `receive` of the database return."""

    kind: str
    """`command` and `stop` make a claim; the other kinds are described in `receive.function.sql`."""
    connection_id: str
    epoch: int
    mode: str
    refusals: int
    command_id: str
    attempt: int
    moves: int
    frame: str
    seconds_left: float | None
    correlation_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The agents that one of several sweeps looks at: those whose id has this number as the rest of its hash."""

    number: int
    of: int


ALL = Shard(number=0, of=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueAgent:
    """A connected agent with something to post: commands, requests to stop, or a welcome."""

    agent_id: str
    connection_id: str
    epoch: int
    live: bool
    dialect: str

    @property
    def needs_welcome(self) -> bool:
        """Whether it speaks protocol 2, and its flush, which posts the welcome, was lost."""
        return not self.live and self.dialect == DeliveryMode.BATCHING


_CLAIM = HotStatement(call("select * from {f}.claim(%(agent_id)s, %(token)s)"))
_GO_LIVE = HotStatement(call("select * from {f}.go_live(%(agent_id)s, %(epoch)s, %(token)s)"))
_RELEASE = HotStatement(
    call(
        "select * from {f}.release(%(agent_id)s, %(token)s, %(connection_id)s, %(epoch)s, %(outcome)s, %(taken)s,"
        " %(taken_moves)s, %(unsendable)s, %(unsendable_moves)s, %(unsendable_causes)s, %(unsent)s, %(unsent_moves)s,"
        " %(cause)s, %(told)s, %(again)s)"
    )
)
_MAY_HAVE_ARRIVED = HotStatement(
    b"""
    select 1
    from agents a
    where a.agent_id = %(agent_id)s
      and a.epoch = %(epoch)s
      and a.connection_id is not null
      and exists (
        select
        from (
            select c.attempt, c.epoch, c.sent_at
            from agent_commands c
            where c.agent_id = a.agent_id
              and c.status = 'pending'
            order by c.priority desc, c.seq
            limit 100) as next
        where next.attempt > 0
          and next.epoch < a.epoch
          and (not a.spoke or next.sent_at > clock_timestamp() - interval '0.3 seconds'))
    """
)
_IS_HELD = HotStatement(
    b"""
    select 1
    from agents
    where agent_id = %(agent_id)s
      and epoch = %(epoch)s
      and connection_id = %(connection_id)s
      and approval = 'approved'
      and (lease_token = %(token)s or dialect = 'acknowledging')
    """
)
# The agents are few beside the commands, and for each one index says whether something is due.
_DUE_AGENTS = call(
    "select a.agent_id, a.connection_id, a.epoch, a.live, a.dialect from agents a"
    " where a.connection_id is not null and ({f}.needs_welcome(a) or {f}.can_be_posted(a) and {f}.has_work(a))"
    " and (%(of)s = 1 or (hashtextextended(a.agent_id, 0) & 1073741823) %% %(of)s = %(number)s) limit %(limit)s"
)


_MODES = {mode.value: mode for mode in DeliveryMode}  # a call of an enumeration costs a microsecond


def new_token() -> str:
    """Make a token for a lease: 128 random bits, as PostgreSQL writes a uuid."""
    return os.urandom(16).hex()


def claim(conn: Connection, agent_id: str) -> Claim | None:
    """Claim due commands that fit the agent's window, in one statement.

    None where the agent is not connected, another worker delivers to it, it must wait, or nothing is due.
    """
    token, begun = new_token(), time.monotonic()
    return claim_of(agent_id, token, begun, _CLAIM.fetch(conn, {"agent_id": agent_id, "token": token}))


def claim_live(conn: Connection, agent_id: str, epoch: int) -> Claim | None:
    """Record that the handshake of a connection is over, unless a newer connection exists, and claim."""
    token, begun = new_token(), time.monotonic()
    rows = _GO_LIVE.fetch(conn, {"agent_id": agent_id, "epoch": epoch, "token": token})
    return claim_of(agent_id, token, begun, rows)


def claim_of(agent_id: str, token: str, begun: float, rows: Iterable[Sequence[Any]]) -> Claim | None:
    """Make a claim of the rows `command` and `stop` of the database's functions; None if there are none."""
    commands: list[ClaimedCommand] = []
    stops: list[tuple[str, int]] = []
    last: Sequence[Any] = ()
    for row in rows:
        kind = row[0]  # by its place: a window has a hundred rows
        if kind == "command":
            commands.append(ClaimedCommand(*row[5:11]))
        elif kind == "stop":
            stops.append((row[5], row[6]))
        else:
            continue
        last = row
    if not last:
        return None
    about = Row._make(last)
    return Claim(
        agent_id=agent_id,
        token=token,
        begun=begun,
        connection_id=about.connection_id,
        epoch=about.epoch,
        mode=_MODES[about.mode],
        refusals=about.refusals,
        commands=tuple(commands),
        stops=tuple(stops),
    )


def may_have_arrived(conn: Connection, agent_id: str, epoch: int) -> bool:
    """Tell whether the agent's next commands went out over an older connection, and nobody has said yet if they arrived.

    The agent says so first over this connection.  What it does not name may still be with the worker that claimed it, for a
    moment: then the worker says so.  Only as many of the queue are looked at as an agent may have in flight.
    """
    return bool(_MAY_HAVE_ARRIVED.fetch(conn, {"agent_id": agent_id, "epoch": epoch}))


def is_held(conn: Connection, claim: Claim) -> bool:
    """Tell whether the claim still holds: a newer connection of the agent, a rejection or a revoked key ends it."""
    parameters = {
        "agent_id": claim.agent_id,
        "epoch": claim.epoch,
        "connection_id": claim.connection_id,
        "token": claim.token,
    }
    return bool(_IS_HELD.fetch(conn, parameters))


def needs_release(claim: Claim, outcome: Outcome) -> bool:
    """Tell whether the database must hear of an outcome.

    Where one command at a time is in flight, a first attempt that the gateway took has nothing to give back: it was claimed
    with the right deadline and without a lease.
    """
    return (
        claim.mode is not DeliveryMode.ACKNOWLEDGING
        or outcome.posted is not Posted.TAKEN
        or bool(outcome.unsent or outcome.unsendable)
        or claim.refusals > 0
        or any(command.attempt > 1 for command in outcome.taken)
    )


def release(conn: Connection, claim: Claim, outcome: Outcome, *, look_again: bool) -> Claim | None:
    """Give a claim back; return the next one if `look_again` finds more.  Safe to repeat.

    Only what this claim took is touched: a command that was claimed again meanwhile has made more moves.
    """
    # The first ack deadline is right already, but for agents that never acknowledge.
    longer = [command for command in outcome.taken if claim.mode is DeliveryMode.UNACKNOWLEDGED or command.attempt > 1]
    begun = time.monotonic()
    rows = _RELEASE.fetch(
        conn,
        {
            "agent_id": claim.agent_id,
            "token": claim.token,
            "connection_id": claim.connection_id,
            "epoch": claim.epoch,
            "outcome": outcome.posted,
            "taken": [command.command_id for command in longer],
            "taken_moves": [command.moves for command in longer],
            "unsendable": [command.command_id for command, _ in outcome.unsendable],
            "unsendable_moves": [command.moves for command, _ in outcome.unsendable],
            "unsendable_causes": [reason for _, reason in outcome.unsendable],
            "unsent": [command.command_id for command in outcome.unsent],
            "unsent_moves": [command.moves for command in outcome.unsent],
            "cause": outcome.unsent_cause,
            "told": list(outcome.told),
            "again": look_again,
        },
    )
    return claim_of(claim.agent_id, claim.token, begun, rows)


def due_agents(conn: Connection, limit: int, shard: Shard = ALL) -> list[DueAgent]:
    """Find connected agents of a shard that have something to post, or no welcome yet, and no worker that delivers to them.

    The statement probes the queue of each connected agent; commands for offline agents cost nothing.
    """
    return fetch_all(conn, DueAgent, _DUE_AGENTS, {"limit": limit, "of": shard.of, "number": shard.number})
