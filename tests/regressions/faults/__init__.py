"""The matrix of faults as data."""

from tests.regressions.fault import Fault
from tests.regressions.faults import around, below, between

MATRIX: dict[str, tuple[Fault, ...]] = below.ROWS | between.ROWS | around.ROWS
