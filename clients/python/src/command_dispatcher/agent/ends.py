"""The commands that have ended at an agent: they may be delivered again, and each end is said until it is confirmed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .messages import Delivery, Report
from .records import Clock, Ended
from .writes import Outcome

REMEMBERED = 1000
"""How many confirmed ends are kept, for commands that are delivered again."""
REMEMBERED_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Ends:
    """The ends that are stored, by command, in the order in which they came."""

    clock: Clock
    _by_id: dict[str, Ended] = field(default_factory=dict[str, Ended])
    _bytes: int = 0

    def get(self, command_id: str) -> Ended | None:
        """Return the end of a command."""
        return self._by_id.get(command_id)

    def add(self, delivery: Delivery, outcome: Outcome, *, confirmed: bool = False) -> Ended:
        """Keep an end."""
        ended = Ended(delivery.without_payload(), outcome, self.clock.monotonic(), confirmed)
        self._by_id[delivery.command_id] = ended
        self._bytes += len(outcome.body or "")
        return ended

    def remove(self, command_id: str) -> None:
        """Forget an end, because its command is executed or said again."""
        self._bytes -= len(self._by_id.pop(command_id).outcome.body or "")

    def unconfirmed(self) -> list[Ended]:
        """Return the ends that the service has not confirmed."""
        return [ended for ended in self._by_id.values() if not ended.confirmed]

    def confirm(self, reports: Iterable[Report]) -> tuple[str, ...]:
        """Note that the service has these reports; return the commands whose ends are confirmed by that."""
        confirmed: list[str] = []
        for report in reports:
            ended = self._by_id.get(report.command_id)
            if report.is_end and ended and not ended.confirmed and ended.delivery.attempt == report.attempt:
                ended.confirmed = True
                confirmed.append(report.command_id)
        return tuple(confirmed)

    def forget(self) -> tuple[str, ...]:
        """Forget the oldest confirmed ends where there are too many; return their commands."""
        forgotten: list[str] = []
        for command_id, ended in list(self._by_id.items()):
            if len(self._by_id) <= REMEMBERED and self._bytes <= REMEMBERED_BYTES:
                break
            if ended.confirmed:
                self.remove(command_id)
                forgotten.append(command_id)
        return tuple(forgotten)
