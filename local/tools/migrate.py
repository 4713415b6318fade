"""`make migrate`: apply the schema from a shell, for what takes longer than a function may.

It reads DATABASE_URL, the URL of the schema's owner on a direct connection, and DATABASE_ROLE, the role that functions log in
as (on AWS: dispatcher).  A deployment then finds nothing left to do.
"""

import os
import sys

import psycopg

from dispatcher.errors import DispatcherError
from dispatcher.platform import migrations
from dispatcher.platform.database import open_connection


def main() -> int:
    """Migrate, and print what was applied."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.stderr.write("DATABASE_URL is not set.  Next: give the URL of the schema's owner.\n")
        return 1
    try:
        with open_connection(url) as conn:
            applied = migrations.migrate(conn)
            if role := os.environ.get("DATABASE_ROLE"):
                migrations.grant_to(conn, role)
    except (DispatcherError, psycopg.Error, RuntimeError) as error:
        sys.stderr.write(f"The schema is not migrated: {error}\n")
        return 1
    sys.stdout.write(f"Applied: {', '.join(applied) or 'nothing, the schema is up to date'}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
