"""Every fault that a history can contain.  A test proves that each of them occurs."""

from enum import StrEnum


class ConnectionFault(StrEnum):
    """What happens to a process at one round trip to the database."""

    LOST_BEFORE = "database: connection lost before a statement or commit"
    LOST_AFTER = "database: connection lost before the answer to a statement or commit"
    KILLED_BEFORE = "process: killed before a statement or commit"
    KILLED_AFTER = "process: killed after a statement or commit"
    SUSPENDED = "process: suspended after a commit, and resumed when its lease has expired"


class PostFault(StrEnum):
    """What happens to one post to an agent's connection."""

    NONE = "delivered"
    SWALLOWED = "gateway: accepted, but not delivered"
    GONE = "gateway: 410, the connection is closed"
    REFUSED = "gateway: 429 or 5xx"
    TOO_LARGE = "gateway: 413"
    TIMEOUT_DELIVERED = "gateway: no answer, delivered"
    TIMEOUT_LOST = "gateway: no answer, not delivered"
    KILLED_BEFORE = "process: killed between claim and post"
    KILLED_AFTER = "process: killed between post and settlement"
    DATABASE_LOST = "database: connection lost during a post"


class ActorFault(StrEnum):
    """What agents, operators, the gateway and time do; each may cause a second delivery."""

    RECONNECTS = "agent: connects again"
    CRASHES = "agent: crashes and loses its memory"
    CONNECTION_CUT = "gateway: connection cut"
    NOT_CLOSED = "gateway: close had no effect"
    TIME_PASSES = "time: a timeout's length passes"
    AGENT_REJECTED = "operator: agent rejected"
    KEY_REVOKED = "operator: key revoked"
    AGENT_DELETED = "operator: agent deleted"
    GOES_MUTE = "agent: executes and says nothing any more"
    RESUMES = "agent: says what it executes"
    DATABASE_AWAY = "database: away when an agent's message comes"
    INVOCATION_LOST = "flush: an invocation is lost"
    BROUGHT_AGAIN = "queue: a kept message is brought again"


POST_FAULTS = (PostFault.NONE,) * 14 + tuple(PostFault)
"""What one post chooses from."""

_ROUND_TRIPS = range(5)
_NO_FAULTS = (None,) * 160
CONNECTION_FAULTS = _NO_FAULTS + tuple(
    (fault, trips) for trips in _ROUND_TRIPS for fault in ConnectionFault if fault is not ConnectionFault.SUSPENDED
)
"""What one run of a function chooses from: a fault, and the number of round trips before it."""
DELIVERY_FAULTS = CONNECTION_FAULTS + tuple((ConnectionFault.SUSPENDED, trips) for trips in _ROUND_TRIPS)
"""The same for a function that holds leases."""
FROZEN = (False,) * 25 + (True,)
"""What a process chooses from that has settled a message and claimed: whether it is suspended before its posts."""
AWAY = (False,) * 7 + (True,)
"""What a message with reports chooses from: whether the database is away when it comes."""
