"""Whatever an agent sends, nothing is unhandled, and nobody else's rows are touched."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher.commands.delivery import deliver
from dispatcher.platform.database import Connection
from dispatcher.protocol.handshake import DeliveryMode
from tests.fakes import FakeGateway, plenty
from tests.rows import connect, provide, put, receive, statuses

IDS = ["mine", "theirs", "none", "", "\0", "\ud800", "a" * 10_000, "' or true --"]
KINDS = [
    *("ack", "complete", "failed", "command_error", "command_response", "status", "vnc_ready", "heartbeat", "pong"),
    *("shutdown_ack", "reports", "progress", "cancelled", "nonsense", ""),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "commandId": st.sampled_from(IDS) | anything,
        "sessionId": st.sampled_from(IDS) | anything,
        "attempt": st.integers() | anything,
        "result": anything,
        "progress": anything,
        "error": anything,
        "state": st.sampled_from(["running", "terminated", "?"]) | anything,
        "success": anything,
        "retryable": anything,
        "capacity": anything,
        "activeSessions": anything,
        "timestamp": anything,
    },
)


def _message(kind: str, flat: dict[str, Any], wrapped: dict[str, Any], reports: list[dict[str, Any]]) -> str:
    return json.dumps({**flat, "type": kind, **({"payload": wrapped} if wrapped else {}), "reports": reports})


messages = st.builds(
    _message,
    st.sampled_from(KINDS),
    fields,
    fields,
    st.lists(fields.flatmap(lambda some: st.sampled_from(KINDS).map(lambda kind: {**some, "kind": kind})), max_size=3),
)


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=messages | anything.map(json.dumps) | st.text())
def test_no_message_is_an_error_or_touches_what_is_not_the_agents(conn: Connection, text: str) -> None:
    """Two agents, each with a command and a session under way; one of them says whatever comes to its mind."""
    if not statuses(conn):
        for agent_id, command_id in (("a1", "mine"), ("a2", "theirs")):
            provide(conn, agent_id)
            connect(conn, agent_id, f"c-{agent_id}", mode=DeliveryMode.BATCHING)
            put(conn, command_id, agent_id, session_id=command_id)
            conn.execute(
                """insert into sessions (name, agent_id, owner, template, resources, persistent_home)
                   values (%s, %s, 'u', 't', '{}', false)""",
                (command_id, agent_id),
            )
            deliver(conn, FakeGateway(), agent_id, plenty)

    receive(conn, "a1", "c-a1", text)

    assert statuses(conn)["theirs"] == "sent"
    untouched = conn.execute("select state, details from sessions where name = 'theirs'").fetchone()
    seen = conn.execute("select last_seen_at = connected_at from agents where agent_id = 'a2'").fetchone()
    assert (untouched, seen) == (("pending", None), (True,))
