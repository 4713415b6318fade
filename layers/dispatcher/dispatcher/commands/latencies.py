"""Latencies of commands that have just ended, as samples: CloudWatch computes every percentile of them."""

from collections.abc import Mapping, Sequence

from dispatcher.platform.database import Connection

SAMPLES = 100
"""The most values of one metric that a line of the embedded metric format has."""
_RECENT = 2000
"""The most ended commands that are looked at, so that a busy minute costs no more than a quiet one."""

METRICS = ("accepted_to_sent_seconds", "sent_to_acknowledged_seconds", "acknowledged_to_ended_seconds")


def sample(conn: Connection) -> Mapping[str, Sequence[float]]:
    """Return the latencies of up to SAMPLES commands, chosen at random, that ended within five minutes, by metric, in seconds.

    The first is the service's: how long a command waited although its agent was connected.  The others are the agent's.
    """
    rows = conn.execute(
        """
        with recent as materialized (
            select c.agent_id, c.epoch, c.created_at, c.sent_at, c.acknowledged_at, c.completed_at
            from agent_commands c
            where c.completed_at > now() - interval '5 minutes'
              and c.attempt = 1
              and c.not_before is null
            order by c.completed_at desc
            limit %s
        ), chosen as materialized (
            select *
            from recent
            order by random()
            limit %s
        )
        select
            case when a.epoch = c.epoch and a.connected_at <= c.created_at
                then extract(epoch from c.sent_at - c.created_at)::float8 end,
            extract(epoch from c.acknowledged_at - c.sent_at)::float8,
            extract(epoch from c.completed_at - c.acknowledged_at)::float8
        from chosen c
        join agents a using (agent_id)
        """,
        (_RECENT, SAMPLES),
    ).fetchall()
    return {
        name: [max(0.0, row[place]) for row in rows if row[place] is not None] for place, name in enumerate(METRICS)
    }
