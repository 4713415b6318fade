"""The mutations fit the code as it is, and the document says nothing that is not there."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.regressions.fault import Fault
from tests.regressions.faults import MATRIX
from tests.regressions.matrix import DOCUMENT, referred_to, rendered
from tests.regressions.mutation import Mutation
from tests.regressions.regressions import INVARIANTS, NO_MUTATION, REGRESSIONS
from tests.regressions.table import MUTATIONS

FAULTS = [fault for faults in MATRIX.values() for fault in faults]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_changes_one_place_of_the_code_as_it_is(root: Path, mutation: Mutation) -> None:
    """Or it would prove nothing about it; and each has a name of its own."""
    mutation.check(root)

    assert mutation.caught_by
    assert mutation.old != mutation.new
    assert Counter(each.name for each in MUTATIONS)[mutation.name] == 1


def test_every_regression_is_put_back_or_says_why_it_cannot_be() -> None:
    """And every invariant is broken by something."""
    broken = {reference for mutation in MUTATIONS for reference in referred_to(mutation)}

    assert broken == (REGRESSIONS.keys() - NO_MUTATION.keys()) | INVARIANTS.keys()


def test_every_test_and_every_mutation_that_is_named_exists(root: Path) -> None:
    """In the matrix, and in the mutations."""
    named = {_whole(test) for fault in FAULTS for test in fault.tests}
    named |= {_whole(test) for mutation in MUTATIONS for test in mutation.caught_by}

    missing = {test for test in named if not _exists(root, *test.split("::"))}
    unknown = {name for fault in FAULTS for name in fault.mutations} - {mutation.name for mutation in MUTATIONS}

    assert (missing, unknown) == (set(), set())


def test_each_fault_has_a_test_and_an_invariant_that_there_is() -> None:
    """A fault that nothing is tried against is no row of the matrix."""
    for fault in FAULTS:
        assert fault.tests, fault.what
        assert set(fault.invariants) <= INVARIANTS.keys(), fault.what


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_each_mutation_of_a_fault_is_caught_by_a_test_of_that_fault(fault: Fault) -> None:
    """Or the row would say more than was shown."""
    caught_by = {mutation.name: {_whole(test) for test in mutation.caught_by} for mutation in MUTATIONS}

    for name in fault.mutations:
        assert caught_by[name] & {_whole(test) for test in fault.tests}, name


def test_the_document_is_up_to_date(root: Path) -> None:
    """`make generated` writes it."""
    assert (root / DOCUMENT).read_text() == rendered()


def _whole(test: str) -> str:
    """Leave out which of its cases it is."""
    return test.partition("[")[0]


def _exists(root: Path, path: str, name: str) -> bool:
    return (root / path).is_file() and name in _tests(root / path)


def _tests(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
