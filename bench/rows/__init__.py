"""The rows, in the order in which they run: those with many agents last, because their agents stay connected."""

from collections.abc import Awaitable, Callable

from bench.context import Bench
from bench.figures import Figure
from bench.rows.backlog import backlog
from bench.rows.delivery import fanout, first, flush
from bench.rows.fleet import idle, memory, storm
from bench.rows.latency import latency
from bench.rows.requests import bulk, http, intake

ROWS: dict[str, Callable[[Bench], Awaitable[list[Figure]]]] = {
    "http": http,
    "intake": intake,
    "bulk": bulk,
    "latency": latency,
    "flush": flush,
    "fanout": fanout,
    "first": first,
    "storm": storm,
    "idle": idle,
    "memory": memory,
    "backlog": backlog,
}
