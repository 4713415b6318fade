"""What so many agents and commands ask of each part, and what each part can do: the arithmetic of docs/scale.md."""

from collections.abc import Iterator
from dataclasses import dataclass

from local.tools.costs import FUNCTION_MS, HEARTBEAT_MS, HEARTBEAT_SECONDS, SOCKET_SECONDS

# ── What AWS allows an account in a region, before anybody asks for more ─────────────────────────────────────────────────
GATEWAY_REQUESTS = 10_000  # a second, HTTP and WebSocket and @connections together
NEW_SOCKETS = 500  # a second
CONCURRENCY = 1_000  # functions at a time; a new account may have 10
STAGE_RATE = 1_000  # RequestRate, this template's own
ACU_CONNECTIONS = 2_000  # Aurora Serverless v2 from 8 ACU of maximum upwards; less below

# ── What the database can do, measured on one machine of two cores with PostgreSQL 18 ────────────────────────────────────
UPDATES = 2_500  # a second, one row a commit, fsync on
SWEEP_PROBES = (
    100_000  # connected agents a second whose queues a sweep probes; 160,000 with 300,000 commands for others
)
SWEEP_SECONDS = 40  # of the 50 that a sweep has

COMMANDS_AN_AGENT_A_DAY = 20
COMMAND_UPDATES = 4  # accept, claim, ack, complete
COMMAND_REQUESTS = 4  # submit, post, ack, complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One figure: what is asked for, what there is, and so what it takes."""

    what: str
    asked: float
    limit: float
    unit: str
    switch: str

    @property
    def share(self) -> float:
        """How much of the limit is used: above 1 it gives way."""
        return self.asked / self.limit


def loads(agents: int) -> Iterator[Load]:
    """Yield what agents ask of each part, the steady load and the worst moment."""
    beats = agents / HEARTBEAT_SECONDS
    commands = agents * COMMANDS_AN_AGENT_A_DAY / 86_400
    reconnects = agents / SOCKET_SECONDS
    busy = beats * HEARTBEAT_MS / 1000 + (commands * COMMAND_REQUESTS + reconnects * 5) * FUNCTION_MS / 1000
    yield Load(
        what="Messages at this stage's throttle",
        asked=beats + commands * 2,
        limit=STAGE_RATE,
        unit="a second",
        switch="RequestRate, RequestBurst",
    )
    yield Load(
        what="Requests of the account at the gateway",
        asked=beats + commands * COMMAND_REQUESTS + reconnects * 2,
        limit=GATEWAY_REQUESTS,
        unit="a second",
        switch="a quota; rarer heartbeats",
    )
    yield Load(what="New sockets, all day", asked=reconnects, limit=NEW_SOCKETS, unit="a second", switch="a quota")
    yield Load(
        what="New sockets, all agents within a minute",
        asked=agents / 60,
        limit=NEW_SOCKETS,
        unit="a second",
        switch="jitter at the agents",
    )
    yield Load(
        what="Functions at a time",
        asked=busy,
        limit=CONCURRENCY,
        unit="",
        switch="a quota, FunctionConcurrency",
    )
    yield Load(what="Database connections", asked=busy, limit=ACU_CONNECTIONS, unit="", switch="DatabaseProxy")
    yield Load(
        what="Updates of the database",
        asked=beats + commands * COMMAND_UPDATES,
        limit=UPDATES,
        unit="a second",
        switch="DatabaseMaxCapacity; protocol 2",
    )
    yield Load(
        what="Agents that a sweep probes",
        asked=agents,
        limit=SWEEP_PROBES * SWEEP_SECONDS,
        unit="",
        switch="sharded sweeps",
    )
