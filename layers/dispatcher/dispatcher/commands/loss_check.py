"""The loss audit: what must always hold, checked on the live rows.

Each check is one bounded query for the rows that break a promise; zero rows everywhere is what the service promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dispatcher.commands.model import TRANSITIONS
from dispatcher.platform.database import Connection
from dispatcher.store import promises

SAMPLE = 1000
"""Offenders that one check counts at most: what matters is whether there are any."""
NAMED = 5
"""Of which so many are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: how many rows break it, and the ids of some."""

    check: str
    offenders: int
    some: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the audit found: the checks, and the figures beside them."""

    findings: tuple[Finding, ...]
    figures: Mapping[str, float]

    @property
    def clean(self) -> bool:
        """Whether every promise holds."""
        return not any(finding.offenders for finding in self.findings)


def audit(conn: Connection) -> Audit:
    """Run every check on the rows as they are now.  Reads only."""
    legal = [f"{source}>{move.target}" for move in TRANSITIONS.values() for source in move.sources]
    findings: list[Finding] = []
    for check in promises.CHECKS:
        offenders = promises.offenders(conn, check, legal, SAMPLE)
        findings.append(Finding(check=check, offenders=len(offenders), some=tuple(offenders[:NAMED])))
    return Audit(findings=tuple(findings), figures={name: promises.figure(conn, name) for name in promises.FIGURES})
