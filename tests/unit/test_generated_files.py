"""The files that are generated from the code are up to date."""

from pathlib import Path

import pytest

from local.tools import generate


@pytest.mark.parametrize("path", generate.files())
def test_generated_files_are_up_to_date(path: Path) -> None:
    """`make generated` writes them."""
    assert path.read_text() == generate.files()[path]
