"""The pages that the service shows: its OpenAPI document, and the document as a page."""

from functools import cache
from importlib import resources

from aws_lambda_powertools.event_handler.openapi import swagger_ui


@cache
def openapi() -> str:
    """Return the OpenAPI document, made from all functions by `make generated`."""
    return (resources.files("dispatcher") / "api" / "openapi.json").read_text()


@cache
def docs() -> str:
    """Return the OpenAPI document as a page that needs nothing from elsewhere."""
    files = resources.files(swagger_ui)
    # The document stands inside a script: a "</script>" in it would end that.
    spec = openapi().replace("</", "<\\/")
    return swagger_ui.generate_swagger_html(
        spec=spec,
        swagger_js=(files / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(files / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
        persist_authorization=True,
    )
