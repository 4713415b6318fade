"""SQL in files."""

from pathlib import Path

import dispatcher

PACKAGE = Path(dispatcher.__file__).parent
LONGEST = 128
"""As for Python (pyproject.toml).  Schema files are never edited, so they keep what they have."""


def test_no_line_of_a_statement_or_function_is_too_long() -> None:
    """Linters look at Python only."""
    files = [path for path in PACKAGE.rglob("*.sql") if path.parent.name != "schema"]

    long = [
        f"{path.name}:{number}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LONGEST
    ]

    assert len(files) > 5
    assert long == []
