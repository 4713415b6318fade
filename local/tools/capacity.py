"""The load that a number of agents makes on each part, and the limit of each part: the arithmetic of docs/scale.md."""

from typing import NamedTuple

from local.tools.costs import FUNCTION_MS, HEARTBEAT_MS, HEARTBEAT_SECONDS, SOCKET_SECONDS

# ── AWS's default quotas of an account in a region ───────────────────────────────────────────────────────────────────────
GATEWAY_REQUESTS = 10_000  # a second, HTTP and WebSocket and @connections together
GATEWAY_REQUESTS_SMALL = 2_500  # in 13 regions, such as eu-south-1, af-south-1 and ap-east-1
NEW_SOCKETS = 500  # a second
IAM_LOGINS = 200  # a second, for each database cluster
CONCURRENCY = 1_000  # functions at a time; a new account may have 10
STAGE_RATE = 1_000  # RequestRate, this template's own
ACU_CONNECTIONS = 2_000  # Aurora Serverless v2 from 8 ACU of maximum upwards; less below

# ── Limits of the database, measured on one machine with two cores and PostgreSQL 18 ─────────────────────────────────────
UPDATES = 2_500  # a second, one row a commit, fsync on
SWEEP_PROBES = (
    100_000  # connected agents a second whose queues a sweep probes; 160,000 with 300,000 commands for others
)
SWEEP_SECONDS = 40  # of the 50 that a sweep has

COMMANDS_AN_AGENT_A_DAY = 20
COMMAND_UPDATES = 4  # accept, claim, ack, complete
COMMAND_REQUESTS = 4  # submit, post, ack, complete


class Load(NamedTuple):
    """One figure: the load, the limit, and the setting that raises the limit."""

    what: str
    asked: float
    limit: float
    unit: str
    switch: str

    @property
    def share(self) -> float:
        """How much of the limit is used: above 1 it is exceeded."""
        return self.asked / self.limit


def loads(agents: int) -> list[Load]:
    """Return the load on each part, steady and at the worst moment."""
    beats = agents / HEARTBEAT_SECONDS
    commands = agents * COMMANDS_AN_AGENT_A_DAY / 86_400
    reconnects = agents / SOCKET_SECONDS
    busy = beats * HEARTBEAT_MS / 1000 + (commands * COMMAND_REQUESTS + reconnects * 5) * FUNCTION_MS / 1000
    requests = beats + commands * COMMAND_REQUESTS + reconnects * 2
    updates = beats + commands * COMMAND_UPDATES
    storm = min(agents / 60, NEW_SOCKETS)
    rate = "a second"
    return [
        Load("Messages at this stage's throttle", beats + commands * 2, STAGE_RATE, rate, "RequestRate, RequestBurst"),
        Load("Requests of the account at the gateway", requests, GATEWAY_REQUESTS, rate, "a quota; rarer heartbeats"),
        Load("The same, in 13 smaller regions", requests, GATEWAY_REQUESTS_SMALL, rate, "a quota; rarer heartbeats"),
        Load("New sockets, all day", reconnects, NEW_SOCKETS, rate, "a quota"),
        Load("New sockets, all agents within a minute", agents / 60, NEW_SOCKETS, rate, "jitter at the agents"),
        Load("Functions at a time", busy, CONCURRENCY, "", "a quota, FunctionConcurrency"),
        # Each new socket starts an authorizer, a connect and a flush, until there are as many as work at the same time.
        Load("Log-ins with IAM, in that minute", storm * 3, IAM_LOGINS, rate, "DatabaseProxy, FunctionConcurrency"),
        Load("Database connections", busy, ACU_CONNECTIONS, "", "DatabaseProxy"),
        Load("Updates of the database", updates, UPDATES, rate, "DatabaseMaxCapacity; protocol 2"),
        Load("Agents that a sweep probes", agents, SWEEP_PROBES * SWEEP_SECONDS, "", "SweepShards"),
    ]
