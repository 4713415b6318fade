"""The commands of one agent, without I/O: which are stored, acknowledged and executed, and when.

A command waits in memory until its turn comes.  Then it is stored, acknowledged and executed, in this order.  Commands of one
session have their turn one after another, and so have the commands without a session.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .ends import Ends
from .messages import CancelRequest, Delivery, Report
from .outbox import Outbox
from .records import (
    BUSY,
    INTERRUPTED,
    NOT_OURS,
    Active,
    Catalogue,
    Clock,
    Ended,
    Phase,
    Start,
    Stop,
    end_report,
    failed,
    progress_report,
    stopped,
)
from .writes import Accept, Attempt, Begin, Confirm, End, Forget, Outcome, Probe, StoredCommand, Write

HELD_FROM_ATTEMPT = 3
HELD_AFTER_SECONDS = 240.0
"""A command that waits at this attempt, or for so long, is acknowledged before its turn, so that its attempts are not used up:
the service waits five minutes for an ack while its agent is busy."""
PROGRESS_SECONDS = 1.0
"""The least time between two reports of progress of one command."""
STORAGE_PAUSES = (1.0, 60.0)
"""Pauses between two attempts to write a state file that failed: the first, and the longest."""


@dataclass(slots=True)
class Work:
    """The state of all commands; what is to be stored, said and run collects in `writes`, `effects` and the reports."""

    catalogue: Catalogue
    window: int
    clock: Clock
    writes: list[Write] = field(default_factory=list[Write])
    effects: list[Start | Stop] = field(default_factory=list[Start | Stop])
    draining: bool = False
    trouble: str | None = None
    """Why the state file cannot be written."""
    _active: dict[str, Active] = field(default_factory=dict[str, Active])
    _ends: Ends = field(init=False)
    _outbox: Outbox = field(init=False)
    _probe_at: float = 0.0
    _pause: float = 0.0

    def __post_init__(self) -> None:
        self._ends, self._outbox = Ends(self.clock), Outbox(self.clock)

    def load(self, stored: Iterable[StoredCommand]) -> None:
        """Take over what an earlier process left.

        A command that was executed then is executed again if its handler allows it; if not, it ends as interrupted.
        """
        for each in stored:
            delivery = each.delivery
            if each.state == "ended" and each.outcome is not None:
                self._ends.add(delivery, each.outcome, confirmed=each.confirmed)
                continue
            record = self._active[delivery.command_id] = Active(delivery, Phase.ACCEPTED)
            record.resumed = each.state == "running"
            record.alive_at = self.clock.monotonic() + delivery.execution_seconds / 3
            if not self.catalogue.knows(delivery.action):
                self._finish(record, failed(f"unknown action: {delivery.action}"))
            elif record.resumed and not self.catalogue.is_idempotent(delivery.action):
                self._finish(record, failed(INTERRUPTED))

    # ── What comes from the service ────────────────────────────────────────────────────────────────────────────

    def receive(self, delivery: Delivery) -> None:
        """Take a delivery: a new command, or one that is known already."""
        ended = self._ends.get(delivery.command_id)
        record = self._active.get(delivery.command_id)
        if self.trouble is not None or (self.draining and record is None and ended is None):
            return  # it is not acknowledged, so the service keeps it
        if ended is not None:
            self._deliver_again(ended, delivery)
        elif record is None:
            self._add(Active(delivery, alive_at=self.clock.monotonic() + HELD_AFTER_SECONDS))
        elif delivery.attempt >= record.delivery.attempt:
            self._update(record, delivery)
        self.schedule()

    def _add(self, record: Active) -> None:
        delivery = record.delivery
        self._active[delivery.command_id] = record
        if not self.catalogue.knows(delivery.action):
            self._finish(record, failed(f"unknown action: {delivery.action}"))
        elif not delivery.payload:
            self._finish(record, failed("the payload is nested too deeply"))
        elif delivery.deliver_by is not None and delivery.deliver_by <= self.clock.now():
            self._finish(record, failed("delivered too late"))

    def _update(self, record: Active, delivery: Delivery) -> None:
        record.delivery = record.delivery.with_attempt(delivery.attempt)
        match record.phase:
            case Phase.WAITING if delivery.attempt >= HELD_FROM_ATTEMPT:
                self._hold(record)
            case Phase.ACCEPTED | Phase.BEGINNING | Phase.RUNNING:
                self.writes.append(Attempt(command_id=delivery.command_id, attempt=delivery.attempt))
            case _:
                pass

    def _deliver_again(self, ended: Ended, delivery: Delivery) -> None:
        newer = delivery.attempt > ended.delivery.attempt
        if ended.outcome.retryable and newer:
            if not self.draining:
                self._ends.remove(delivery.command_id)
                not_before = ended.ended_at + ended.outcome.retry_after
                alive_at = self.clock.monotonic() + HELD_AFTER_SECONDS
                self._add(Active(delivery, not_before=not_before, alive_at=alive_at))
            return
        self._ends.remove(delivery.command_id)
        record = Active(ended.delivery.with_attempt(max(delivery.attempt, ended.delivery.attempt)))
        self._active[delivery.command_id] = record
        self._finish(record, ended.outcome)

    def cancel(self, request: CancelRequest) -> None:
        """Stop a command, or see that it never begins."""
        record = self._active.get(request.command_id)
        if record is None or record.stop is not None:
            return
        match record.phase:
            case Phase.WAITING | Phase.ACCEPTED:
                self._finish(record, Outcome(kind="cancelled"))
                self.schedule()
            case Phase.ACCEPTING | Phase.BEGINNING:
                record.stop = "cancel"
            case Phase.RUNNING:
                record.stop = "cancel"
                self.effects.append(Stop(command_id=request.command_id))
            case _:
                pass

    def received(self, message_id: str) -> None:
        """Take the confirmation of a message of reports."""
        confirmed = self._ends.confirm(self._outbox.received(message_id))
        if confirmed:
            self.writes.append(Confirm(command_ids=confirmed))
            if forgotten := self._ends.forget():
                self.writes.append(Forget(command_ids=forgotten))

    def connect(self, *, moved: bool) -> None:
        """Begin a connection: what `owned` names has its ack, and each end that is not confirmed is said again.

        After a move commands that wait for their turn are stored, so that they are named and do not come again.
        """
        if moved and self.trouble is None and not self.draining:
            for record in self._active.values():
                if record.phase is Phase.WAITING:
                    self._hold(record)
        else:
            self._drop_waiting()  # they are the service's again: its operator may have cancelled them
        for record in self._active.values():
            record.acknowledged = record.delivery.attempt
        self._outbox.open(end_report(ended) for ended in self._ends.unconfirmed())

    def owned(self) -> list[tuple[str, int]]:
        """Return the commands that this agent owns, or has not reported for certain, with their attempts."""
        owned = [record.delivery for record in self._active.values() if record.phase not in NOT_OURS]
        deliveries = owned + [ended.delivery for ended in self._ends.unconfirmed()]
        return [(delivery.command_id, delivery.attempt) for delivery in deliveries]

    def disconnect(self) -> None:
        """End a connection: nothing begins before the next one."""
        self._outbox.close()

    def _drop_waiting(self) -> None:
        for command_id in [key for key, record in self._active.items() if record.phase is Phase.WAITING]:
            del self._active[command_id]

    # ── What comes from the handlers ───────────────────────────────────────────────────────────────────────────

    def progress(self, command_id: str, body: str) -> None:
        """Take progress of a running command; the last one replaces one that was not said yet."""
        record = self._active.get(command_id)
        if record is not None and record.phase is Phase.RUNNING:
            record.progress = body
            record.deadline = self.clock.monotonic() + record.delivery.execution_seconds

    def ended(self, command_id: str, outcome: Outcome) -> None:
        """Take the outcome of a handler."""
        record = self._active.get(command_id)
        if record is None or record.phase is not Phase.RUNNING:
            return
        if outcome.kind == "stopped":
            if record.stop == "shutdown" and self.catalogue.is_idempotent(record.delivery.action):
                record.phase = Phase.LEFT
                return
            outcome = stopped(record)
        if record.progress is not None and self._outbox.is_open:
            self._outbox.add(progress_report(record))  # the last progress comes before the end
            record.progress = None
        self._finish(record, outcome)
        self.schedule()

    # ── What comes from the storage ────────────────────────────────────────────────────────────────────────────

    def stored(self, writes: Sequence[Write]) -> None:
        """Go on after a commit."""
        for write in writes:
            match write:
                case Accept():
                    self._accepted(self._active[write.delivery.command_id])
                case Attempt():
                    self._acknowledge(self._active.get(write.command_id))
                case Begin():
                    self._begun(self._active[write.command_id])
                case End():
                    self._saved(self._active.pop(write.delivery.command_id))
                case Probe():
                    self.trouble, self._pause = None, 0.0
                case Confirm() | Forget():
                    pass
        self.schedule()

    def not_stored(self, writes: Sequence[Write], reason: str) -> None:
        """Go back after a failed commit; nothing of it may be said to the service."""
        for write in writes:
            match write:
                case Accept():
                    self._active.pop(write.delivery.command_id, None)
                case Begin():
                    self._active[write.command_id].phase = Phase.ACCEPTED
                case End():
                    self._active[write.delivery.command_id].phase = Phase.UNSAVED
                case _:
                    pass
        self.trouble = reason
        first, longest = STORAGE_PAUSES
        self._pause = min(max(first, self._pause * 2), longest)
        self._probe_at = self.clock.monotonic() + self._pause
        self._drop_waiting()

    def _accepted(self, record: Active) -> None:
        record.phase = Phase.ACCEPTED
        record.alive_at = self.clock.monotonic() + record.delivery.execution_seconds / 3
        if record.stop == "cancel":
            self._finish(record, Outcome(kind="cancelled"))
        else:
            self._acknowledge(record)

    def _begun(self, record: Active) -> None:
        if record.stop == "cancel":
            self._finish(record, Outcome(kind="cancelled"))
            return
        record.phase = Phase.RUNNING
        record.deadline = self.clock.monotonic() + record.delivery.execution_seconds
        if record.waited or record.resumed:
            # The service counts the execution timeout from the ack, or from the last progress.
            record.progress = '{"waiting": null}'
        self.effects.append(Start(delivery=record.delivery, resumed=record.resumed))

    def _saved(self, record: Active) -> None:
        assert record.outcome is not None  # noqa: S101 - an end has an outcome
        ended = self._ends.add(record.delivery, record.outcome)
        if record.outcome.kind != "cancelled":
            self._acknowledge(record)
        self._outbox.add(end_report(ended))

    def _acknowledge(self, record: Active | None) -> None:
        if record is None or not self._outbox.is_open or record.acknowledged == record.delivery.attempt:
            return
        delivery = record.delivery
        record.acknowledged = delivery.attempt
        self._outbox.add(Report(kind="ack", command_id=delivery.command_id, attempt=delivery.attempt))

    # ── Turns and time ─────────────────────────────────────────────────────────────────────────────────────────

    def schedule(self) -> None:
        """Begin what has its turn: in order within a lane, and as many at a time as the window allows."""
        if not self._outbox.is_open or self.draining or self.trouble is not None:
            return
        now = self.clock.monotonic()
        running = [record for record in self._active.values() if record.phase in BUSY and not record.held]
        lanes = {self._lane(record) for record in running}
        room = self.window - len(running)
        for record in list(self._active.values()):
            lane = self._lane(record)
            if room <= 0:
                return
            if record.phase not in {Phase.WAITING, Phase.ACCEPTED} or lane in lanes:
                continue
            if record.phase is Phase.ACCEPTED and record.not_before > now:
                continue  # it comes later: what is behind it goes on
            lanes.add(lane)
            if record.phase is Phase.WAITING:
                record.held = record.waited = record.not_before > now
                self._accept(record)
            else:
                record.held = False
                record.phase = Phase.BEGINNING
                self.writes.append(Begin(command_id=record.delivery.command_id))
            room -= 1

    def _lane(self, record: Active) -> object:
        if self.catalogue.is_concurrent(record.delivery.action):
            return record.delivery.command_id, "alone"
        return record.delivery.session_id

    def tick(self) -> None:
        """Do what is due."""
        now = self.clock.monotonic()
        if self.trouble is not None and now >= self._probe_at:
            self._probe_at = now + STORAGE_PAUSES[1]
            self.writes.append(Probe())
            for record in self._active.values():
                if record.phase is Phase.UNSAVED:
                    self._finish(record, record.outcome or failed(INTERRUPTED))
        for record in self._active.values():
            if record.phase is Phase.RUNNING and record.stop is None and now >= record.deadline:
                record.stop = "timeout"
                self.effects.append(Stop(command_id=record.delivery.command_id))
            elif record.phase is Phase.ACCEPTED and now >= record.alive_at:
                record.alive_at = now + record.delivery.execution_seconds / 3
                record.progress = '{"waiting": "for its turn at the agent"}'
            elif record.phase is Phase.WAITING and now >= record.alive_at and self.trouble is None:
                self._hold(record)
        self._outbox.tick()
        self.schedule()

    def next_due(self) -> float | None:
        """Return when `tick` has something to do, as seconds of the clock."""
        again_at = self._outbox.next_due()
        due = [] if again_at is None else [again_at]
        if self.trouble is not None:
            due.append(self._probe_at)
        for record in self._active.values():
            if record.phase is Phase.RUNNING and record.stop is None:
                due.append(record.deadline)
            elif record.phase is Phase.WAITING:
                due.append(record.alive_at)
            elif record.phase is Phase.ACCEPTED:
                due.append(record.alive_at)
                if record.not_before > self.clock.monotonic():
                    due.append(record.not_before)
            if record.progress is not None and self._outbox.is_open:
                due.append(record.progress_at)
        return min(due, default=None)

    def next_reports(self) -> list[Report]:
        """Return what is to be said now."""
        now = self.clock.monotonic()
        progress = [
            progress_report(record)
            for record in self._active.values()
            if record.progress is not None
            and record.progress_at <= now
            and record.phase in {Phase.ACCEPTED, Phase.RUNNING}
        ]
        return [*self._outbox.waiting(), *progress] if self._outbox.is_open else []

    def say(self, reports: Sequence[Report], message_id: str) -> None:
        """Note that these, the first of `next_reports`, are in a message that is being sent."""
        queued = min(len(reports), len(self._outbox.waiting()))
        for report in reports[queued:]:
            record = self._active[report.command_id]
            record.progress, record.progress_at = None, self.clock.monotonic() + PROGRESS_SECONDS
        self._outbox.said(message_id, queued, reports[queued:])

    # ── The end of the agent ───────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Begin nothing more; what was not acknowledged stays with the service."""
        self.draining = True
        self._drop_waiting()

    def stop_all(self) -> None:
        """Ask everything that runs to stop, because the agent ends."""
        for record in self._active.values():
            if record.phase is Phase.RUNNING and record.stop is None:
                record.stop = "shutdown"
                self.effects.append(Stop(command_id=record.delivery.command_id))

    def running(self) -> int:
        """Return how many commands are executed or about to be stored."""
        return sum(record.phase in {*BUSY, Phase.ENDING} for record in self._active.values())

    def is_quiet(self) -> bool:
        """Tell whether nothing is unacknowledged or unconfirmed: a good moment to change the connection."""
        undecided = {Phase.WAITING, Phase.ACCEPTING, Phase.ENDING}
        return self._outbox.is_empty and not any(record.phase in undecided for record in self._active.values())

    # ── Records ────────────────────────────────────────────────────────────────────────────────────────────────

    def _hold(self, record: Active) -> None:
        """Acknowledge a command before its turn."""
        record.held = record.waited = True
        self._accept(record)

    def _accept(self, record: Active) -> None:
        record.phase = Phase.ACCEPTING
        self.writes.append(Accept(delivery=record.delivery))

    def _finish(self, record: Active, outcome: Outcome) -> None:
        record.phase, record.outcome = Phase.ENDING, outcome
        self.writes.append(End(delivery=record.delivery.without_payload(), outcome=outcome))
