"""One fault as data: what is thrown at the dispatcher, what must hold, the test, and the mutation that proves it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault."""

    what: str
    holds: str
    """What must be true all the same, in plain words."""
    invariants: tuple[str, ...]
    tests: tuple[str, ...]
    mutations: tuple[str, ...] = ()
    """Names of mutations, each caught by one of the tests; none for what a mutation of one file cannot break."""
