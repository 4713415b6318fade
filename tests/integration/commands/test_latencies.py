"""Latencies: samples of commands that have just ended."""

from dispatcher.commands import latencies
from dispatcher.platform.database import Connection
from tests.rows import connect_new_agent, put


def end(conn: Connection, command_id: str, *, ago: str = "1 second") -> None:
    """Write what a command's way through the service took: 0.2 s, 0.5 s and 3 s."""
    put(conn, command_id)
    conn.execute(
        """
        update agent_commands
        set status = 'completed', attempt = 1, epoch = (select epoch from agents),
            created_at = now() - %(ago)s::interval - interval '3.7 s', sent_at = now() - %(ago)s::interval - interval '3.5 s',
            acknowledged_at = now() - %(ago)s::interval - interval '3 s', completed_at = now() - %(ago)s::interval
        where command_id = %(id)s
        """,
        {"id": command_id, "ago": ago},
    )


def test_each_part_of_a_commands_way_is_measured_and_old_commands_are_not(conn: Connection) -> None:
    """The service's part counts only for an agent that was connected already: others wait for their agent."""
    connect_new_agent(conn)
    conn.execute("update agents set connected_at = now() - interval '1 hour'")
    end(conn, "k1")
    end(conn, "k2", ago="10 minutes")

    measured = latencies.sample(conn)
    assert {name: [round(value, 3) for value in values] for name, values in measured.items()} == {
        "accepted_to_sent_seconds": [0.2],
        "sent_to_acknowledged_seconds": [0.5],
        "acknowledged_to_ended_seconds": [3.0],
    }
    conn.execute("update agents set connected_at = now()")
    assert latencies.sample(conn)["accepted_to_sent_seconds"] == []


def test_a_sample_has_a_bound(conn: Connection) -> None:
    """One line of metrics has at most 100 values of one name."""
    connect_new_agent(conn)
    for number in range(latencies.SAMPLES + 5):
        end(conn, f"k{number}")

    assert len(latencies.sample(conn)["sent_to_acknowledged_seconds"]) == latencies.SAMPLES
