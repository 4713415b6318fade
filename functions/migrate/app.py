"""Migrate: apply the schema, and make the first admin."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.access import identity
from dispatcher.platform import database, migrations, settings
from dispatcher.platform.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Migrate; doing it again changes nothing."""
    del event, context
    with database.connect() as conn:
        applied = migrations.migrate(conn)
        if role := settings.database_role():
            migrations.admit(conn, role)
        made = identity.ensure_admin(conn, settings.admin_password())
    logger.info("Migrated", extra={"applied": applied, "admin_password_set": made})
    return {"applied": applied}
