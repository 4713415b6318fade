"""Pages of the service: the OpenAPI document, as JSON and for people."""

from functools import cache
from importlib import resources

from aws_lambda_powertools.event_handler.openapi import swagger_ui


@cache
def openapi() -> str:
    """Return the OpenAPI document of all functions (`make generated` writes it)."""
    return (resources.files("dispatcher") / "api" / "openapi.json").read_text()


@cache
def docs() -> str:
    """Return the OpenAPI document as a page; it loads nothing from other hosts."""
    files = resources.files(swagger_ui)
    # The document is inside a script element, which "</script>" would end.
    spec = openapi().replace("</", "<\\/")
    return swagger_ui.generate_swagger_html(
        spec=spec,
        swagger_js=(files / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(files / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
        persist_authorization=True,
    )
