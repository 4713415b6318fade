"""`make docs`: every Markdown file of the repository as one site, where each link works as it does in the repository.

Sphinx reads from the top folder.  A link to a file that is no page becomes a copy of this file.
"""

import shutil
from pathlib import Path
from typing import Any

NAVIGATION = {
    "Start": ["docs/quickstart", "docs/agents", "docs/how-to", "examples/README"],
    "Use": ["docs/console", "docs/cli", "docs/events", "docs/webhooks", "docs/streamspace", "clients/python/README"],
    "Understand": ["docs/delivery", "docs/concepts", "docs/guarantees", "docs/performance", "docs/adr/README"],
    "Operate": ["docs/deploy", "docs/operations", "docs/runbooks", "docs/scale", "docs/security", "docs/local-aws"],
    "Reference": [
        "docs/reference/cli",
        "docs/reference/python",
        "docs/reference/operations",
        "docs/reference/http",
        "docs/reference/problems",
        "docs/protocol",
        "docs/reference/states",
        "docs/reference/figures",
    ],
    "Project": [
        "CHANGELOG",
        "CONTRIBUTING",
        "SECURITY",
        "CODE_OF_CONDUCT",
        "tests/simulation/README",
        "tests/streamspace/README",
    ],
}

project = "Agent Command Dispatcher"
root_doc = "README"
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/**.md", "examples/**.md", "clients/**.md", "tests/**.md"]
exclude_patterns = ["**/.*", "**/node_modules"]
myst_heading_anchors = 4
highlight_language = "none"
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False


def setup(app: Any) -> None:
    """Tell Sphinx what it cannot read from the pages."""
    app.connect("source-read", _show_diagrams_as_text)
    app.connect("source-read", _add_navigation)
    app.connect("build-finished", _write_front_page)


def _show_diagrams_as_text(_app: Any, _page: str, source: list[str]) -> None:
    """Leave diagrams to the repository: what draws them on a page is a script of several megabytes."""
    source[0] = source[0].replace("```mermaid\n", "```text\n")


def _add_navigation(_app: Any, page: str, source: list[str]) -> None:
    """Add the tables of contents here, because the repository would show them as code."""
    if page == root_doc:
        source[0] += "".join(_contents(caption, pages) for caption, pages in NAVIGATION.items())
    elif page == "docs/adr/README":
        source[0] += _contents("Decisions", sorted(path.stem for path in Path(__file__).parent.glob("adr/0*.md")))


def _contents(caption: str, pages: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def _write_front_page(app: Any, problem: Exception | None) -> None:
    if problem is None:
        shutil.copy(app.outdir / f"{root_doc}.html", app.outdir / "index.html")
