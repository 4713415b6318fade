"""The function `pages`."""

from tests.integration.functions.events import Run, request


def test_the_root_leads_to_the_documentation(run: Run) -> None:
    """A newcomer opens it first."""
    answer = run("pages", request("GET", "/", role=None))

    assert answer["statusCode"] == 302
    assert answer["headers"]["Location"] == "/docs"
