"""Pages: health, the OpenAPI document and its page; a problem document for every unknown path."""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.api import pages
from dispatcher.api.resolver import Api
from dispatcher.api.schema_base import HealthDocument
from dispatcher.commands import loss_check
from dispatcher.platform import database
from dispatcher.platform.observability import logger

api = Api(public=None)


@api.get("/healthz")
def health() -> HealthDocument:
    """Tell whether the service works; it answers only if the database does."""
    with database.connect() as conn:
        figures = {name: loss_check.recorded_figure(conn, name) for name in loss_check.HEALTH}
    return HealthDocument.model_validate({"status": "ok", **figures})


@api.get("/", include_in_schema=False)
def root() -> Response[str]:
    """Redirect to the documentation."""
    return Response(status_code=302, headers={"Location": "/docs"}, body="")


@api.get("/openapi.json", include_in_schema=False)
def openapi() -> Response[str]:
    """Serve the OpenAPI document of all functions."""
    return Response(status_code=200, content_type="application/json", body=pages.openapi())


@api.get("/docs", include_in_schema=False)
def docs() -> Response[str]:
    """Serve the OpenAPI document as a page on which each call can be tried."""
    page = pages.docs()
    return Response(
        status_code=200,
        content_type="text/html; charset=utf-8",
        body=page.html,
        headers={"Content-Security-Policy": page.policy},
    )


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
