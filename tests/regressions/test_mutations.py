"""Each mutation fits the product as it is, and names a test; `make mutations` runs them."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.regressions.mutation import Mutation, OutOfDate, find_tests, read_product
from tests.regressions.regressions import REGRESSIONS
from tests.regressions.selection import MUTATIONS
from tests.simulation.invariants import INVARIANTS

CODE = """
def look(conn):
    if conn:
        conn.execute(
            \"\"\"
            select agent_id from agents
            where approval = 'approved'  -- a rejected agent may not connect
              and deleted_at is null
            \"\"\",
            (1, 2),
        )
"""


@pytest.fixture(scope="module")
def product(root: Path) -> dict[Path, str]:
    """The files that a mutation may change."""
    return read_product(root)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_of_the_product(mutation: Mutation, product: Mapping[Path, str]) -> None:
    """A mutated Python file is still valid Python."""
    path, text = mutation.apply(product)

    assert text != product[path]
    if path.suffix == ".py":
        ast.parse(text)


def test_each_mutation_names_one_test_that_exists(root: Path) -> None:
    """Only the function's name counts, so that a test may move to another file."""
    tests = find_tests(root)

    found = {each.caught_by: len(tests.get(each.caught_by, [])) for each in MUTATIONS}

    assert {name: count for name, count in found.items() if count != 1} == {}


def test_each_regression_and_each_invariant_has_a_mutation() -> None:
    """No mutation has another reference, and no two have the same name."""
    names = [each.name for each in MUTATIONS]

    assert {reference for each in MUTATIONS for reference in each.stands_for} == REGRESSIONS.keys() | INVARIANTS.keys()
    assert sorted(set(names)) == sorted(names)


def test_each_invariant_is_explained_in_the_documentation(root: Path) -> None:
    """One row of a table each."""
    rows = re.findall(r"^\| (I\d+) \|", (root / "docs/guarantees.md").read_text(), re.MULTILINE)

    assert rows == list(INVARIANTS)


@pytest.mark.parametrize(
    ("find", "replace", "changed"),
    [
        ("where approval='approved'", "where true", "where true  -- a"),
        ("approval = 'approved' and deleted_at is null", "true", "where true\n"),
        (
            "select ... and deleted_at is null",
            "select ...",
            "where approval = 'approved'  -- a rejected agent may not connect",
        ),
        ("(1, 2))", "(1,))", '""",\n            (1,))\n'),
        ("conn.execute(", "pass\nconn.execute(", "        pass\n        conn.execute(\n"),
    ],
    ids=["white space", "comment and line break", "gap", "trailing comma", "indentation"],
)
def test_formatting_does_not_matter(find: str, replace: str, changed: str) -> None:
    """Only tokens are compared, and a replacement of several lines gets the indentation of the first."""
    mutation = _mutation(find, replace)

    path, text = mutation.apply({Path("a.py"): CODE})

    assert path == Path("a.py")
    assert changed in text


def test_code_that_was_changed_is_out_of_date_and_the_nearest_code_is_shown() -> None:
    """With file and line, so that the mutation can be adapted."""
    mutation = _mutation("where approval = 'approved' and removed_at is null", "")

    with pytest.raises(OutOfDate, match=r"0 times(.|\n)*similar: a\.py:7: where approval = ' approved '"):
        mutation.apply({Path("a.py"): CODE})


def test_code_that_is_there_twice_is_out_of_date() -> None:
    """The error shows both places."""
    mutation = _mutation("approval = 'approved'", "true")

    with pytest.raises(OutOfDate, match=r"2 times(.|\n)*a\.py:7(.|\n)*b\.py:7"):
        mutation.apply({Path("a.py"): CODE, Path("b.py"): CODE})


def test_a_word_does_not_match_a_part_of_another() -> None:
    """`agent` is not `agent_id`."""
    with pytest.raises(OutOfDate):
        _mutation("select agent", "").apply({Path("a.py"): CODE})


def _mutation(find: str, replace: str) -> Mutation:
    return Mutation(name="example", puts_back="", stands_for=(), find=find, replace=replace, caught_by="")
