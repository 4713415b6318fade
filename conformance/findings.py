"""What was found out: one verdict a check, the worst of all that were seen."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from conformance.checks import BY_NAME, Check, Level


class Verdict(IntEnum):
    """Of two verdicts about one check the larger one counts."""

    SKIPPED = 0
    UNREACHED = 1
    PASSED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict, and what was seen: for a failure what is wrong, else a note that may be empty."""

    check: Check
    verdict: Verdict
    seen: str = ""


class Findings:
    """The verdicts so far, about the checks that are wanted; about others nothing is kept."""

    def __init__(self, wanted: Iterable[Check]) -> None:
        """Want these checks; each is unreached until something is found."""
        self._found = {
            check.name: Finding(check=check, verdict=Verdict.UNREACHED, seen="not reached") for check in wanted
        }
        self._settled: set[str] = set()

    def add(self, name: str, verdict: Verdict, seen: str = "") -> None:
        """Note a verdict; the first of the worst ones stays."""
        known = self._found.get(name)
        if known is None:
            if name not in BY_NAME:
                raise KeyError(name)
            return
        if name not in self._settled or verdict > known.verdict:
            self._found[name] = Finding(check=known.check, verdict=verdict, seen=seen)
            self._settled.add(name)

    def passed(self, name: str, note: str = "") -> None:
        """Note that a check holds."""
        self.add(name, Verdict.PASSED, note)

    def failed(self, name: str, seen: str) -> None:
        """Note that a check does not hold, and what was seen instead."""
        self.add(name, Verdict.FAILED, seen)

    def skipped(self, name: str, why: str) -> None:
        """Note that a check does not apply to this agent or this run."""
        self.add(name, Verdict.SKIPPED, why)

    def judge(self, name: str, seen: str | None, note: str = "") -> None:
        """Note a failure where something wrong was seen, else that the check holds."""
        if seen is None:
            self.passed(name, note)
        else:
            self.failed(name, seen)

    def unreached(self, scene: str, why: str) -> None:
        """Say of a scene's checks that nothing was found about, why that is so."""
        for name, finding in self._found.items():
            if finding.check.scene == scene and name not in self._settled:
                self.add(name, Verdict.UNREACHED, why)

    def all(self) -> list[Finding]:
        """Return one finding a check, in the order of the checks."""
        return list(self._found.values())

    def of_scene(self, scene: str) -> list[Finding]:
        """Return the findings about the checks of a scene."""
        return [finding for finding in self._found.values() if finding.check.scene == scene]

    def failures(self) -> set[str]:
        """Return the names of the checks that do not hold."""
        return {name for name, finding in self._found.items() if finding.verdict is Verdict.FAILED}

    def conforms(self) -> bool:
        """Tell whether every MUST holds, or does not apply."""
        return not any(
            finding.check.level is Level.MUST and finding.verdict in {Verdict.FAILED, Verdict.UNREACHED}
            for finding in self._found.values()
        )
