"""What an agent says of itself."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps


def take(conn: Connection, agent_id: str, connection_id: str, facts: Mapping[str, Any]) -> None:
    """Keep what an agent says over its current connection."""
    conn.execute(
        """
        update agents
        set facts = %(facts)s
        where agent_id = %(agent_id)s
          and connection_id = %(connection_id)s
          and facts <> %(facts)s
        """,
        {"agent_id": agent_id, "connection_id": connection_id, "facts": Jsonb(facts, dumps=dumps)},
    )
