"""The tables and their columns, read from information_schema, so that tests also cover columns that are added later."""

from dispatcher.platform.database import Connection

UNCHANGED = ["schema_migrations", "engine_schemas", "feed", "feed_lives", "audit_log"]
"""Tables that a history does not change: of the schema and its functions, and the audit log, which refuses changes."""


def data_tables(conn: Connection) -> list[str]:
    """Return the tables that hold data, in an order in which they can be emptied: those that others refer to last."""
    rows = conn.execute(
        """select table_name from information_schema.tables
           where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> all(%s)
           order by exists (select from pg_constraint where contype = 'f' and confrelid = table_name::regclass), table_name""",
        (UNCHANGED,),
    )
    return [row[0] for row in rows]


def nullable_columns(conn: Connection, table: str) -> list[str]:
    """Return the columns of a table that may be NULL."""
    rows = conn.execute(
        """select column_name from information_schema.columns where table_schema = 'public' and table_name = %s
           and is_nullable = 'YES' and is_generated = 'NEVER' order by ordinal_position""",
        (table,),
    )
    return [row[0] for row in rows]


def timestamp_columns(conn: Connection) -> dict[str, list[str]]:
    """Return the columns that hold a point in time, by table."""
    rows = conn.execute(
        """select table_name, array_agg(column_name::text order by ordinal_position) from information_schema.columns
           where table_schema = 'public' and data_type like 'timestamp%%' and table_name = any(%s)
           group by table_name order by table_name""",
        (data_tables(conn),),
    )
    return dict(rows.fetchall())


NULL_MEANS_DEFAULT = ("status", "created_at", "priority", "execution_timeout", "max_attempts", "attempt", "cause")
"""Columns of agent_commands that are not nullable, but into which NULL can be inserted: a trigger makes it the default."""
