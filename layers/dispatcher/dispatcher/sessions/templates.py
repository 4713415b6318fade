"""Templates of sessions: the manifests that StreamSpace's agents need with each start."""

from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from dispatcher.access import audit_log
from dispatcher.access.roles import Operator
from dispatcher.errors import TemplateTooLarge, UnknownTemplate
from dispatcher.platform.database import Connection, fetch_all
from dispatcher.platform.json_text import dumps

MANIFEST_BYTES = 64 * 1024
"""The largest manifest: it must leave room for the rest of a command in a message of 128 KB."""
PAGE_BYTES = 2 * 1024 * 1024
"""A page of a list ends after so many bytes of manifests; an answer of a function has at most 6 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template, and the size of its manifest in bytes."""

    name: str
    manifest: dict[str, Any]
    size: int


_COLUMNS = "name, manifest, octet_length(manifest::text) as size"


def check_size(manifest: dict[str, Any]) -> None:
    """Raise TemplateTooLarge for a manifest of more than MANIFEST_BYTES."""
    size = len(dumps(manifest).encode())
    if size > MANIFEST_BYTES:
        raise TemplateTooLarge(
            f"The manifest takes {size} bytes; at most {MANIFEST_BYTES} are allowed.", limit=MANIFEST_BYTES
        )


def put(conn: Connection, name: str, manifest: dict[str, Any], by: Operator) -> bool:
    """Store a template; return whether it is new.  Raises TemplateTooLarge."""
    check_size(manifest)
    with conn.transaction():
        row = conn.execute(
            """
            insert into session_templates (name, manifest, updated_by)
            values (%s, %s, %s)
            on conflict (name) do update
            set manifest = excluded.manifest,
                updated_by = excluded.updated_by,
                updated_at = now()
            returning xmax = 0
            """,
            (name, Jsonb(manifest, dumps=dumps), by.username),
        ).fetchone()
        audit_log.record(conn, by.actor, "put template", detail={"template": name})
    return bool(row and row[0])


def get(conn: Connection, name: str) -> dict[str, Any] | None:
    """Read a template's manifest."""
    row = conn.execute("select manifest from session_templates where name = %s", (name,)).fetchone()
    return row[0] if row else None


def find(conn: Connection, name: str) -> dict[str, Any]:
    """Read a template's manifest; raises UnknownTemplate."""
    manifest = get(conn, name)
    if manifest is None:
        raise UnknownTemplate(f"There is no template {name!r}.", template=name)
    return manifest


def delete(conn: Connection, name: str, by: Operator) -> None:
    """Delete a template; sessions that were started from it go on.  Raises UnknownTemplate."""
    with conn.transaction():
        if not conn.execute("delete from session_templates where name = %s", (name,)).rowcount:
            raise UnknownTemplate(f"There is no template {name!r}.", template=name)
        audit_log.record(conn, by.actor, "delete template", detail={"template": name})


def list_page(conn: Connection, *, after: str | None, limit: int) -> tuple[list[Template], bool]:
    """Read a page of templates, ordered by name, with a name above `after`; return it, and whether there are more.

    A page ends earlier where its manifests take more than PAGE_BYTES.
    """
    found = fetch_all(
        conn,
        Template,
        f"""
        select {_COLUMNS}
        from session_templates
        where (%(after)s::text is null or name > %(after)s)
        order by name
        limit %(limit)s
        """,
        {"after": after, "limit": limit + 1},
    )
    page: list[Template] = []
    size = 0
    for template in found[:limit]:
        size += template.size
        if page and size > PAGE_BYTES:
            break
        page.append(template)
    return page, len(found) > len(page)
