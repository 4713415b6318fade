"""What the tables are made of, asked from information_schema: a column that is added later is tested as well."""

from dispatcher.platform.database import Connection

KEPT = ["schema_migrations", "audit_log"]
"""Tables that are no part of a history: what was applied, and a log that refuses to be changed."""


def tables(conn: Connection) -> list[str]:
    """Name the tables that hold data, those that refer to others first: in this order they can be emptied."""
    names = [
        row[0]
        for row in conn.execute(
            """select table_name from information_schema.tables where table_schema = 'public'
               and table_type = 'BASE TABLE' and table_name <> all(%s) order by table_name""",
            (KEPT,),
        )
    ]
    refers = conn.execute(
        """select conrelid::regclass::text, confrelid::regclass::text from pg_constraint
           where contype = 'f' and conrelid <> confrelid and conrelid::regclass::text <> all(%s)""",
        (KEPT,),
    ).fetchall()
    ordered: list[str] = []
    while len(ordered) < len(names):
        ordered += [
            name
            for name in names
            if name not in ordered and not any(to == name and by not in ordered for by, to in refers)
        ]
    return ordered


def nullable(conn: Connection, table: str) -> list[str]:
    """Name the columns of a table that may be NULL."""
    return [
        row[0]
        for row in conn.execute(
            """select column_name from information_schema.columns where table_schema = 'public' and table_name = %s
               and is_nullable = 'YES' and is_generated = 'NEVER' order by ordinal_position""",
            (table,),
        )
    ]


def moments(conn: Connection) -> dict[str, list[str]]:
    """Name the columns that hold a point in time, by table."""
    found: dict[str, list[str]] = {}
    for table, column in conn.execute(
        """select c.table_name, c.column_name from information_schema.columns c
           join information_schema.tables t using (table_schema, table_name)
           where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.data_type like 'timestamp%%'
             and c.table_name <> all(%s)
           order by c.table_name, c.ordinal_position""",
        (KEPT,),
    ):
        found.setdefault(table, []).append(column)
    return found
