"""Pages of the service: the OpenAPI document, as JSON and for people."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from aws_lambda_powertools.event_handler.openapi import swagger_ui


@cache
def openapi() -> str:
    """Return the OpenAPI document of all functions (`make generated` writes it)."""
    return (resources.files("dispatcher") / "api" / "openapi.json").read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, and the Content-Security-Policy that it needs."""

    html: str
    policy: str


@cache
def docs() -> Page:
    """Return the OpenAPI document as a page; it loads nothing from other hosts, and keeps no token."""
    files = resources.files(swagger_ui)
    # The document is inside a script element, which "</script>" would end.
    spec = openapi().replace("</", "<\\/")
    html = swagger_ui.generate_swagger_html(
        spec=spec,
        swagger_js=(files / "swagger-ui-bundle.min.js").read_text(),
        swagger_css=(files / "swagger-ui.min.css").read_text(),
        swagger_base_url="",
        oauth2_config=None,
        persist_authorization=False,
    )
    policy = (
        f"default-src 'none'; script-src {_hashes(html, 'script')}; style-src {_hashes(html, 'style')}; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html=html, policy=policy)


def _hashes(html: str, element: str) -> str:
    """Return the sources of a policy that allow the elements of a page and no others."""
    texts = re.findall(f"<{element}>(.*?)</{element}>", html, re.DOTALL)
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
