"""Values that occur, to choose from: labels and platforms of agents, actions and submitters of commands."""

from enum import StrEnum

from dispatcher.access.scopes import AGENT_IN_SCOPE, Scope, as_parameter
from dispatcher.commands import command_lists
from dispatcher.commands.command_lists import Filter
from dispatcher.platform.database import Connection

AGENTS = 20_000
"""The most agents whose labels are looked at."""
DIFFERENT = 1000
"""The most actions, or submitters, that are looked at."""
LAST = 500
"""With a label limit: the last commands that are looked at."""


class Field(StrEnum):
    """Of what the values are."""

    LABEL = "label"
    """As a selector has them: the name alone, and name=value."""
    PLATFORM = "platform"
    ACTION = "action"
    SUBMITTED_BY = "submittedBy"


_COLUMNS = {Field.ACTION: "action", Field.SUBMITTED_BY: "submitted_by"}


def find(conn: Connection, field: Field, *, search: str, scope: Scope, limit: int) -> list[str]:
    """Return values that contain a text in any case, of what the label limit shows.

    Of agents, those that occur most come first; the others are in the order of the text.
    """
    if field in _COLUMNS:
        values = _of_all(conn, _COLUMNS[field]) if scope is None else _of_the_last(conn, _COLUMNS[field], scope)
        return [value for value in values if search.lower() in value.lower()][:limit]
    said = "array[a.platform]" if field is Field.PLATFORM else _LABELS
    rows = conn.execute(
        f"""
        select v.value
        from (
            select * from agents a where a.deleted_at is null and {AGENT_IN_SCOPE} order by a.agent_id limit {AGENTS}) as a
        cross join lateral unnest({said}) as v (value)
        where strpos(lower(v.value), %(search)s) > 0
        group by v.value
        order by count(*) desc, v.value
        limit %(limit)s
        """.encode(),
        {"scope": as_parameter(scope), "search": search.lower(), "limit": limit},
    ).fetchall()
    return [value for (value,) in rows]


_LABELS = """array(
    select said from jsonb_each_text(a.labels) as l (name, value), unnest(array[name, name || '=' || value]) as said)"""


def _of_all(conn: Connection, column: str) -> list[str]:
    """From one value to the next one, by an index."""
    rows = conn.execute(
        f"""
        with recursive next_values (value) as (
            (select l.{column} from command_list l where l.{column} is not null order by l.{column} limit 1)
            union all
            select (select l.{column} from command_list l where l.{column} > n.value order by l.{column} limit 1)
            from next_values n
            where n.value is not null
        )
        select value from next_values where value is not null limit {DIFFERENT}
        """.encode()
    ).fetchall()
    return [value for (value,) in rows]


def _of_the_last(conn: Connection, column: str, scope: Scope) -> list[str]:
    ids = command_lists.find(conn, scope=scope, wanted=Filter(), limit=LAST).ids
    rows = conn.execute(
        f"""
        select distinct c.{column} as value
        from agent_commands c
        where c.command_id = any(%s)
          and c.{column} is not null
        order by value
        """.encode(),
        (ids,),
    ).fetchall()
    return [value for (value,) in rows]
