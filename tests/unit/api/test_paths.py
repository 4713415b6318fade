"""The table of paths: a literal segment goes before a parameter."""

from dispatcher.api.paths import Paths

PATHS = Paths(
    {"/agents": ["GET", "POST"], "/agents/{id}": ["GET"], "/agents/register": ["POST"], "/agents/{id}/keys/{key}": []}
)


def test_a_path_is_found_by_its_segments() -> None:
    """An empty segment is no id."""
    asked = [
        "/agents",
        "/agents/a-",
        "/agents/register",
        "/agents/a/keys/k",
        "/agents/",
        "/agents/a/",
        "/agents/a/keys",
        "/",
        "",
    ]
    found = {path: match.template if (match := PATHS.find(path)) else None for path in asked}

    assert found == {
        "/agents": "/agents",
        "/agents/a-": "/agents/{id}",
        "/agents/register": "/agents/register",
        "/agents/a/keys/k": "/agents/{id}/keys/{key}",
        "/agents/": None,
        "/agents/a/": None,
        "/agents/a/keys": None,
        "/": None,
        "": None,
    }


def test_head_is_allowed_where_get_is() -> None:
    """As HTTP has it."""
    allowed = [path.allow for path in map(PATHS.find, ("/agents", "/agents/register")) if path]

    assert allowed == ["GET, HEAD, POST", "POST"]
