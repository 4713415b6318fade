"""Migrate: apply the schema, and create the first admin."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import operators
from dispatcher.platform import database, migrations, settings
from dispatcher.platform.observability import logged, logger


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Migrate; safe to repeat."""
    del event, context
    with database.connect() as conn:
        applied = migrations.migrate(conn)
        if role := settings.database_role():
            migrations.grant_to(conn, role)
        password_set = operators.ensure_admin(conn, settings.admin_password())
    logger.info("Migrated", extra={"applied": applied, "admin_password_set": password_set})
    return {"applied": applied}
