"""The function `pages`."""

import base64
import hashlib
import re

from tests.integration.functions.events import Run, request


def test_the_root_leads_to_the_documentation(run: Run) -> None:
    """A newcomer opens it first."""
    answer = run("pages", request("GET", "/", role=None))

    assert answer["statusCode"] == 302
    assert answer["headers"]["Location"] == "/docs"


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
