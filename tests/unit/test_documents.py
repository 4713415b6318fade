"""The documents name only what exists: files, headings, make targets and tests; each has a place on the site."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "",
    *(f"{folder}/**/" for folder in (".github", "bench", "clients", "conformance", "docs", "examples", "tests")),
)
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}*.md"))
LINK = re.compile(r"\[[^\]]+\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def prose(document: Path) -> str:
    """Return a document without its blocks of code, where a # begins a comment."""
    return CODE.sub("", document.read_text(encoding="utf-8"))


def headings(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    lines = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    """Links to other sites are not followed."""
    broken: list[str] = []
    for target, anchor in LINK.findall(prose(document)):
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and anchor not in headings(path)):
            broken.append(f"{target}#{anchor}")

    assert broken == []


def test_the_navigation_of_the_site_has_every_document_once() -> None:
    """`make docs` checks it too; the front page and the decisions have their own lists."""
    navigation = runpy.run_path(str(ROOT / "docs/conf.py"))["NAVIGATION"]
    pages = [page for part in navigation.values() for page in part]
    names = [path.relative_to(ROOT).with_suffix("").as_posix() for path in DOCUMENTS]

    assert sorted(pages) == sorted(name for name in names if not re.match(r"\.github/|README$|docs/adr/\d", name))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_is_one_that_make_help_lists(document: Path) -> None:
    """Only in code, because prose uses the verb "make"."""
    listed = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    code = " ; ".join([*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])

    assert set(re.findall(r"(?:^|[;&\n\s])make ([a-z][a-z-]*)", code)) - listed == set()


def test_every_test_that_a_document_names_exists() -> None:
    """Documents name the tests that prove their claims."""
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"`(?:[\w/]+\.py::)?(test_\w+)`", path.read_text(encoding="utf-8"))
    }

    assert named - defined == set()
    assert named
