"""The results of a run: one finding for each check, the worst that was seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from conformance.checks import BY_NAME, Check, Level


class Verdict(IntEnum):
    """The larger verdict replaces the smaller one for the same check."""

    SKIPPED = 0
    NOT_REACHED = 1
    PASSED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict about a check; `seen` says what the agent did wrong, or is a note that may be empty."""

    check: Check
    verdict: Verdict
    seen: str = ""


class Findings:
    """The findings about the wanted checks; those about other checks are dropped."""

    def __init__(self, wanted: Iterable[Check]) -> None:
        self._wanted = {check.name: check for check in wanted}
        self._found: dict[str, Finding] = {}

    def add(self, name: str, verdict: Verdict, seen: str = "") -> None:
        """Keep a verdict; the first of the worst ones stays.  KeyError if there is no such check."""
        finding = Finding(check=BY_NAME[name], verdict=verdict, seen=seen)
        known = self._found.get(name)
        if name in self._wanted and (known is None or verdict > known.verdict):
            self._found[name] = finding

    def passed(self, name: str) -> None:
        """Note that the agent passed a check."""
        self.add(name, Verdict.PASSED)

    def failed(self, name: str, seen: str) -> None:
        """Note that the agent failed a check, and what it did instead."""
        self.add(name, Verdict.FAILED, seen)

    def skipped(self, name: str, why: str) -> None:
        """Note that a check does not apply to this agent or to this run."""
        self.add(name, Verdict.SKIPPED, why)

    def judge(self, name: str, problem: str | None, note: str = "") -> None:
        """Note that a check failed if there is a problem, else that it passed."""
        self.add(name, Verdict.PASSED if problem is None else Verdict.FAILED, note if problem is None else problem)

    def expect(self, name: str, holds: object, otherwise: str, note: str = "") -> None:
        """Note that a check passed if something holds, else that it failed, with what the agent did."""
        self.judge(name, None if holds else otherwise, note)

    def not_reached(self, scenario: str, why: str) -> None:
        """Say why nothing was found about the remaining checks of a scenario."""
        for name, check in self._wanted.items():
            if check.scenario == scenario and name not in self._found:
                self.add(name, Verdict.NOT_REACHED, why)

    def all(self) -> list[Finding]:
        """Return one finding for each wanted check, in the order of the checks."""
        return [
            self._found.get(name, Finding(check=check, verdict=Verdict.NOT_REACHED, seen="not reached"))
            for name, check in self._wanted.items()
        ]

    def of_scenario(self, scenario: str) -> list[Finding]:
        """Return the findings about the checks of a scenario."""
        return [finding for finding in self.all() if finding.check.scenario == scenario]

    def failures(self) -> dict[str, str]:
        """Return the failed checks, each with what was seen."""
        return {finding.check.name: finding.seen for finding in self.all() if finding.verdict is Verdict.FAILED}

    def conforms(self) -> bool:
        """Tell whether the agent passed every MUST that applies to it."""
        bad = {Verdict.FAILED, Verdict.NOT_REACHED}
        return not any(finding.check.level is Level.MUST and finding.verdict in bad for finding in self.all())
