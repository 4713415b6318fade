"""The matrix of faults as data."""

from tests.mutations.fault import Fault
from tests.mutations.faults import around, below, between

MATRIX: dict[str, tuple[Fault, ...]] = below.ROWS | between.ROWS | around.ROWS
