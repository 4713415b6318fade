"""Pages: the operators' page, health, the OpenAPI document and its page; a problem document for every unknown path."""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from dispatcher.api import console, pages
from dispatcher.api.resolver import Api
from dispatcher.api.schema_base import HealthDocument
from dispatcher.commands import loss_check
from dispatcher.platform import database
from dispatcher.platform.observability import logged

api = Api(public=None)


@api.get("/healthz")
def health() -> HealthDocument:
    """Tell whether the service works; it answers only if the database does."""
    with database.connect() as conn:
        figures = {name: loss_check.recorded_figure(conn, name) for name in loss_check.HEALTH}
    return HealthDocument.model_validate({"status": "ok", **figures})


@api.get("/", include_in_schema=False)
def root() -> Response[str]:
    """Redirect to the operators' page."""
    return Response(status_code=302, headers={"Location": "/console/"}, body="")


@api.get("/console", include_in_schema=False)
def console_without_slash() -> Response[str]:
    """Redirect to the operators' page."""
    return root()


@api.get("/console/", include_in_schema=False)
def overview() -> Response[bytes | str]:
    """Serve the operators' page."""
    return console.page(api.headers)


@api.get("/console/<page>", include_in_schema=False)
def page(page: str) -> Response[bytes | str]:
    """Serve the operators' page, which shows a list."""
    return console.page(api.headers, page)


@api.get("/console/<page>/<item>", include_in_schema=False)
def item(page: str, item: str) -> Response[bytes | str]:  # noqa: ARG001 - the page's script reads it from the address
    """Serve the operators' page, which shows one agent, command or webhook."""
    return console.page(api.headers, page, item=True)


@api.get("/console/static/<version>/<name>", include_in_schema=False)
def console_file(version: str, name: str) -> Response[bytes | str]:
    """Serve a file of the operators' page."""
    return console.file(version, name, api.headers)


@api.get("/console/static/<version>/<folder>/<name>", include_in_schema=False)
def console_file_in_folder(version: str, folder: str, name: str) -> Response[bytes | str]:
    """Serve a file of the operators' page."""
    return console.file(version, f"{folder}/{name}", api.headers)


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


@logged
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer an HTTP event."""
    return api.answer(event, context)
