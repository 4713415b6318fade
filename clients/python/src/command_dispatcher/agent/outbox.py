"""What an agent has to say over its connection, and what it said and nobody has confirmed; without I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .messages import Report
from .records import Clock

AGAIN_SECONDS = (30.0, 600.0)
"""After so long without a confirmation reports are said again over the same connection: first, and at most."""


@dataclass(slots=True)
class _Said:
    """Reports that were sent and are not confirmed."""

    reports: list[Report]
    again_at: float


@dataclass(slots=True)
class Outbox:
    """The reports of one connection; without a connection nothing is kept, because each end is stored."""

    clock: Clock
    is_open: bool = False
    _waiting: list[Report] = field(default_factory=list[Report])
    _said: dict[str, _Said] = field(default_factory=dict[str, _Said])
    _again: float = AGAIN_SECONDS[0]

    def open(self, reports: Iterable[Report]) -> None:
        """Begin a connection with these reports."""
        self.is_open = True
        self._said.clear()
        self._waiting = list(reports)

    def close(self) -> None:
        """End a connection."""
        self.is_open = False
        self._said.clear()
        self._waiting.clear()

    def add(self, report: Report) -> None:
        """Say a report, after those that wait already."""
        if self.is_open:
            self._waiting.append(report)

    def waiting(self) -> Sequence[Report]:
        """Return what is to be said now."""
        return self._waiting

    def said(self, message_id: str, count: int, others: Iterable[Report]) -> None:
        """Note that the first `count` of those that wait are in a message that is being sent, and others beside them."""
        reports = [*self._waiting[:count], *others]
        self._waiting = self._waiting[count:]
        kept = [report for report in reports if report.kind != "progress"]
        if kept:
            self._said[message_id] = _Said(kept, self.clock.monotonic() + self._again)

    def received(self, message_id: str) -> Sequence[Report]:
        """Take the confirmation of a message, and return what was in it."""
        said = self._said.pop(message_id, None)
        self._again = AGAIN_SECONDS[0]
        return said.reports if said else ()

    def tick(self) -> None:
        """Say again what nobody has confirmed for too long."""
        now = self.clock.monotonic()
        unanswered = [key for key, said in self._said.items() if now >= said.again_at]
        if unanswered:
            self._again = min(self._again * 2, AGAIN_SECONDS[1])
        for message_id in unanswered:
            self._waiting += self._said.pop(message_id).reports

    def next_due(self) -> float | None:
        """Return when `tick` has something to do."""
        return min((said.again_at for said in self._said.values()), default=None)

    @property
    def is_empty(self) -> bool:
        """Whether everything was said and confirmed."""
        return not self._said and not self._waiting
