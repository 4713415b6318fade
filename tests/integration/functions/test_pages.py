"""The function `pages`."""

import base64
import gzip
import hashlib
import re
from importlib import resources

import pytest

from tests.integration.functions.events import Run, request


@pytest.mark.parametrize("path", ["/", "/console"])
def test_the_root_leads_to_the_operators_page(run: Run, path: str) -> None:
    """A newcomer opens it first."""
    answer = run("pages", request("GET", path, role=None))

    assert answer["statusCode"] == 302
    assert answer["headers"]["Location"] == "/console/"


@pytest.mark.parametrize(
    "path", ["/console/", "/console/agents", "/console/agents/edge-1", "/console/commands/cmd-1", "/console/send"]
)
def test_each_address_of_the_operators_page_gives_the_page(run: Run, path: str) -> None:
    """Its policy runs no script but the service's own, and no text becomes markup; it is asked for each time."""
    answer = run("pages", request("GET", path, role=None))

    policy = dict(rule.split(" ", 1) for rule in answer["headers"]["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer["headers"]["Cache-Control"] == "no-cache"
    tag = answer["headers"]["ETag"]
    again = run("pages", request("GET", path, role=None, if_none_match=tag))
    assert (again["statusCode"], again["body"]) == (304, "")
    # What the policy forbids is not in the page.
    assert not re.search(r"<script(?![^>]+src=)|<style|\bon[a-z]+=|style=", answer["body"])


@pytest.mark.parametrize(
    "path",
    [
        "/console/nothing",
        "/console/send/1",
        "/console/static/x",
        "/console/static/x/nothing.js",
        "/console/static/x/vendor/README.md",
    ],
)
def test_an_address_without_a_page_or_a_file_is_not_found(run: Run, path: str) -> None:
    """A file is served only if it is one of the page's."""
    assert run("pages", request("GET", path, role=None))["statusCode"] == 404


def test_every_file_of_the_page_is_named_in_it_and_kept_by_browsers(run: Run) -> None:
    """One round trip loads all modules; a file that changes has another address."""
    page = run("pages", request("GET", "/console/", role=None))["body"]
    named = re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page)
    folder = resources.files("dispatcher") / "console"
    files = [*folder.iterdir(), *(folder / "pages").iterdir(), *(folder / "vendor").iterdir()]
    served = {file.name for file in files if file.name.rpartition(".")[2] in {"js", "css", "svg"}}
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}

    assert {path.rpartition("/")[2] for path in named} == served
    for path in named:
        plain = run("pages", request("GET", path, role=None))
        zipped = run("pages", request("GET", path, role=None, accept_encoding="br, gzip"))
        assert plain["headers"]["Content-Type"] == types[path.rpartition(".")[2]]
        assert plain["headers"]["Cache-Control"] == "public, max-age=31536000, immutable"
        assert zipped["headers"]["Content-Encoding"] == "gzip"
        assert gzip.decompress(base64.b64decode(zipped["body"])).decode() == plain["body"]
    other = run("pages", request("GET", "/console/static/of-another-version/app.js", role=None))
    assert (other["statusCode"], other["headers"]["Cache-Control"]) == (200, "no-store")


def test_the_libraries_of_the_page_are_those_that_are_recorded() -> None:
    """Nobody edits them: `make console-libraries` makes them, and the record has their hashes."""
    vendor = resources.files("dispatcher") / "console" / "vendor"
    recorded = dict(re.findall(r"`(\w+\.(?:js|css))`.*`([0-9a-f]{64})`", (vendor / "README.md").read_text()))

    found = {
        name: hashlib.sha256((vendor / name).read_bytes()).hexdigest() for name in ("lit.js", "uplot.js", "uplot.css")
    }

    assert found == recorded


def test_the_documentation_runs_its_own_scripts_only_and_keeps_no_token(run: Run) -> None:
    """A token in the browser's storage outlives the log-out, and another host's script could read it."""
    answer = run("pages", request("GET", "/docs", role=None))

    policy = dict(rule.split(" ", 1) for rule in answer["headers"]["Content-Security-Policy"].split("; "))
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(f"<{element}[^>]*>(.*?)</{element}>", answer["body"], re.DOTALL)
        hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts}
        assert texts
        assert {*policy[rule].split()} == hashes
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "persistAuthorization: false" in answer["body"]
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", answer["body"].split("<script>", 1)[0])
