"""`make streamspace`: move the commands of a StreamSpace database into the dispatcher's table.

    python -m local.tools.streamspace_import --source streamspace.agent_commands [--timezone UTC] [--deliver-hours 24]

Both tables are in the database that DATABASE_URL names; docs/deploy.md explains how to copy StreamSpace's table there.
The import is one transaction, only reads the source, and skips rows that it has moved before, so it can be run again.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from dispatcher.platform.database import Connection, open_connection

TEXTS = ("command_id", "agent_id", "session_id", "action", "status", "error_message")
TIMES = ("created_at", "sent_at", "acknowledged_at", "completed_at")

# A payload that is not JSON was written by a version that did not encode it: it is moved as a JSON text.  'infinity' and
# other times out of range are moved as NULL.
DECODERS = """
create or replace function pg_temp.json_of(value text) returns jsonb language plpgsql as $$
begin
    return value::jsonb;
exception when others then
    return to_jsonb(value);
end $$;
create or replace function pg_temp.moment_of(value timestamptz) returns timestamptz language sql as $$
    select case when value >= '1970-01-01 00:00:00+00' and value < '9999-01-01 00:00:00+00' then value end
$$;
"""

# StreamSpace never sends a command twice, and keeps undelivered commands as pending for ever.  Recent commands are delivered,
# older ones expire.  The agent may still report on an acknowledged command: it gets the usual time for its execution.
MOVE = """
insert into agent_commands (command_id, agent_id, session_id, action, payload, status, error_message,
    created_at, sent_at, acknowledged_at, completed_at, attempt, cause)
select command_id, agent_id, session_id, action, payload, moved.status,
    case when moved.status = 'expired' then coalesce(error_message, 'not delivered before the move from StreamSpace')
         else error_message end,
    times.created, times.sent, times.acknowledged,
    case when moved.status in ('completed', 'failed', 'expired') then times.ended end,
    case when sent_at is null and coalesce(old.status, 'pending') = 'pending' then 0 else 1 end,
    'moved from StreamSpace, where it was ' || coalesce(old.status, 'without a status')
from (select {columns} from {source}) as old
cross join lateral (
    select case
        when coalesce(old.status, 'pending') not in ('pending', 'sent')
            then case old.status when 'ack' then 'acknowledged' else old.status end
        when old.created_at < now() - %(deliver_hours)s * interval '1 hour' then 'expired'
        else 'pending' end as status
) as moved
cross join lateral (
    select least(old.created_at, now()) as created
) as accepted
cross join lateral (
    select coalesce(accepted.created, now()) as created,
        case when old.sent_at is not null then greatest(old.sent_at, accepted.created) end as sent,
        case when old.acknowledged_at is not null
             then greatest(old.acknowledged_at, old.sent_at, accepted.created) end as acknowledged,
        coalesce(greatest(old.completed_at, old.acknowledged_at, old.sent_at, accepted.created), now()) as ended
) as times
where command_id <> '' and agent_id <> '' and action is not null
order by old.created_at nulls last, command_id
on conflict (command_id) do nothing
returning status
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How many of the source's rows were moved (by status), were moved before, or could not be moved."""

    statuses: Mapping[str, int]
    known: int
    unusable: int


def move(conn: Connection, source: str, *, timezone: str = "UTC", deliver_hours: float = 24) -> Moved:
    """Move every command of the table `source` (`schema.table`) whose id is not known yet.

    Times without a zone are read in `timezone`; commands that were never acknowledged are delivered unless they are older
    than `deliver_hours`.  Rows without a command id, an agent or an action cannot be delivered: they are counted and not
    moved.  Raises psycopg.Error, and then nothing was moved.
    """
    table = sql.Identifier(*source.split("."))
    with conn.transaction():
        conn.execute("set local statement_timeout = 0")
        conn.execute(DECODERS)
        columns = _columns(conn, table, timezone)
        total = _count(conn, sql.SQL("select count(*) from {}").format(table))
        usable = _count(
            conn,
            sql.SQL(
                "select count(*) from (select {} from {}) as old"
                " where command_id <> '' and agent_id <> '' and action is not null"
            ).format(columns, table),
        )
        statement = sql.SQL(MOVE).format(columns=columns, source=table)
        moved = conn.execute(statement, {"deliver_hours": deliver_hours}).fetchall()
    statuses = Counter(str(status) for (status,) in moved)
    return Moved(statuses=statuses, known=usable - len(moved), unusable=total - usable)


def _columns(conn: Connection, table: sql.Identifier, timezone: str) -> sql.Composable:
    """Return the columns, converted to the types of the target; one that the source does not have is NULL."""
    described = conn.execute(sql.SQL("select * from {} limit 0").format(table)).description or []
    types = {column.name: column.type_display for column in described}

    def column(name: str, expression: LiteralString, otherwise: LiteralString) -> sql.Composable:
        text = (expression if name in types else otherwise) + " as {name}"
        return sql.SQL(text).format(name=sql.Identifier(name), timezone=sql.Literal(timezone))

    texts = [column(name, "{name}::text", "null::text") for name in TEXTS]
    times = [
        column(
            name,
            "pg_temp.moment_of({name}::timestamptz)"
            if types.get(name) == "timestamptz"
            else "pg_temp.moment_of({name}::timestamp at time zone {timezone})",
            "null::timestamptz",
        )
        for name in TIMES
    ]
    payload = column("payload", "pg_temp.json_of({name}::text)", "null::jsonb")
    return sql.SQL(", ").join([*texts, *times, payload])


def _count(conn: Connection, statement: sql.Composed) -> int:
    row = conn.execute(statement).fetchone()
    return int(row[0]) if row else 0


def main() -> int:
    """Move, and print the numbers; return 1 if something went wrong and nothing was moved."""
    parser = argparse.ArgumentParser(
        description="move the commands of a StreamSpace database into the dispatcher's table"
    )
    parser.add_argument("--source", required=True, help="the table, as schema.table")
    parser.add_argument("--timezone", default="UTC", help="of times without one (UTC)")
    parser.add_argument("--deliver-hours", type=float, default=24, help="what is older has expired (24)")
    given = parser.parse_args()
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.stderr.write("Set DATABASE_URL to the dispatcher's database.\n")
        return 1
    try:
        with open_connection(url) as conn:
            moved = move(conn, given.source, timezone=given.timezone, deliver_hours=given.deliver_hours)
    except psycopg.Error as error:
        sys.stderr.write(f"Nothing was moved: {error}\n")
        return 1
    for status, count in sorted(moved.statuses.items()):
        sys.stdout.write(f"{count:>9} {status}\n")
    sys.stdout.write(
        f"{moved.known:>9} were there already\n{moved.unusable:>9} left behind: no id, no agent or no action\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
