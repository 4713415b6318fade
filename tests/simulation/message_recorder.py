"""Records what each message of an agent changes: it stands around `reports.receive`."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dispatcher.commands.reports import Received, SessionObserver
from dispatcher.platform.database import Connection
from dispatcher.protocol.said import Said
from tests.simulation.agent_messages import Meaning, meant_by_answer
from tests.simulation.history import (
    AgentReport,
    AgentRow,
    CommandRow,
    ConnectionEvent,
    Resumption,
    SaidMessage,
    SettledProgress,
)
from tests.simulation.injected_faults import FROZEN, ConnectionFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

Receive = Callable[..., Received]


@dataclass(slots=True)
class LogCounter:
    """Replaces the logger of reports, and counts what is logged."""

    successes: int = 0
    warnings: int = 0

    def debug(self, _message: str, **_fields: Any) -> None:
        """Count a message that is logged as having moved a command."""
        self.successes += 1

    def warning(self, _message: str, **_fields: Any) -> None:
        """Count a report that is logged as having had no effect."""
        self.warnings += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What was known before a message was settled."""

    agent: AgentRow
    epoch: int
    commands: dict[str, CommandRow]
    admitted: bool
    warnings: int
    successes: int


class MessageRecorder:
    """Records the messages of one history."""

    def __init__(self, simulation: "Simulation") -> None:
        self.logger = LogCounter()
        self._simulation = simulation
        self._tried: set[str] = set()

    def observed(self, receive: Receive) -> Receive:
        """Return `reports.receive` so that all is recorded that a message changes."""

        def receive_and_record(
            conn: Connection, said: Said, observer: SessionObserver, *, claim: bool = True
        ) -> Received:
            received: Received | None = None
            before = self._before(said)
            try:
                with self.event(said.agent_id, said.connection_id, "message"):
                    received = receive(conn, said, observer, claim=claim)
            finally:
                self._record(said, before, received)
            assert received is not None
            self._simulation.gateway.connections[said.connection_id].heard |= not received.refused
            if received.claim is not None and self._simulation.choose(FROZEN):
                self._simulation.log(ConnectionFault.SUSPENDED)
                self._simulation.record_fault(ConnectionFault.SUSPENDED)
                self._simulation.while_suspended()
            return received

        return receive_and_record

    @contextmanager
    def event(self, agent_id: str, connection_id: str, kind: str) -> Generator[None]:
        """Record what an event of a connection changes at its agent."""
        observer = self._simulation.observer
        before, epoch = observer.agent(agent_id), observer.epoch_of(agent_id, connection_id)
        try:
            yield
        finally:
            self._simulation.history.connection_events.append(
                ConnectionEvent(
                    agent_id=agent_id,
                    connection_id=connection_id,
                    kind=kind,
                    epoch=epoch,
                    before=before,
                    after=observer.agent(agent_id),
                )
            )

    def _before(self, said: Said) -> _Before:
        observer = self._simulation.observer
        return _Before(
            agent=observer.agent(said.agent_id),
            epoch=observer.epoch_of(said.agent_id, said.connection_id),
            commands=observer.commands(),
            admitted=observer.admits(said.agent_id, said.key_id),
            warnings=self.logger.warnings,
            successes=self.logger.successes,
        )

    def _record(self, said: Said, before: _Before, received: Received | None) -> None:
        known = self._simulation.agents.message_with(said.text)
        if known is None:
            return
        meaning, message = known
        after = self._simulation.observer.commands()
        if meaning.running is not None:
            changed = after != before.commands
            self._record_resumption(said, meaning.running, before, after, finished=received is not None)
        else:
            changed = self._record_report(said, meaning, before, after, received)
        message.effects += changed
        if received is not None:
            self._record_settled(message)

    def _record_settled(self, message: SaidMessage) -> None:
        now = self._simulation.history.tick()
        message.settled.append(now)
        if self._simulation.late_queue.is_bringing:
            message.settled_late.append(now)

    def _record_report(
        self, said: Said, meaning: Meaning, before: _Before, after: dict[str, CommandRow], received: Received | None
    ) -> bool:
        simulation = self._simulation
        incarnation = simulation.gateway.connections[said.connection_id].incarnation
        command_id = meaning.command_id
        if meaning.session_id is not None:
            # A connection that is not known was the last one if the agent has none now, and an older one otherwise.
            newest = before.epoch
            if newest < 0:
                newest = before.agent.epoch - (before.agent.connection_id is not None)
            command_id = meant_by_answer(before.commands, said.agent_id, incarnation, meaning.session_id, newest)
        own = before.commands.get(command_id or ""), after.get(command_id or "")
        simulation.history.reports.append(
            AgentReport(
                agent_id=said.agent_id,
                kinds=meaning.kinds,
                attempt=meaning.attempt,
                epoch=before.epoch,
                incarnation=incarnation,
                admitted=before.admitted,
                repeated=said.text in self._tried,
                command_id=command_id,
                before=own[0],
                after=own[1],
                others_changed=tuple(
                    other
                    for other, row in before.commands.items()
                    if other != command_id and row != after.get(other) and not _is_claimed(row, after.get(other))
                ),
                finished=received is not None,
                logged_success=self.logger.successes > before.successes,
                logged_warning=self.logger.warnings > before.warnings or (received is not None and received.refused),
            )
        )
        self._tried.add(said.text)
        if "progress" in meaning.kinds and received is not None and own[1] is not None and said.event_id is not None:
            simulation.history.progress.append(
                SettledProgress(
                    command_id=own[1].command_id,
                    said=int(said.event_id.partition("-")[2]),
                    value=int(json.loads(said.text)["id"]),
                    stored=simulation.observer.progress(own[1].command_id),
                )
            )
        return own[0] != own[1]

    def _record_resumption(
        self, said: Said, running: dict[str, int], before: _Before, after: dict[str, CommandRow], *, finished: bool
    ) -> None:
        own = {command_id for command_id, row in before.commands.items() if row.agent_id == said.agent_id}
        self._simulation.history.resumptions.append(
            Resumption(
                agent_id=said.agent_id,
                incarnation=self._simulation.gateway.connections[said.connection_id].incarnation,
                epoch=before.agent.epoch,
                current=before.agent.connection_id == said.connection_id,
                admitted=before.admitted,
                running=running,
                before={command_id: before.commands[command_id] for command_id in own},
                after={command_id: row for command_id, row in after.items() if command_id in own},
                finished=finished,
            )
        )


def _is_claimed(before: CommandRow, after: CommandRow | None) -> bool:
    """Tell whether a command was claimed: a message admits the next ones to the agent's window."""
    return after is not None and (before.status, after.status, after.attempt) == ("pending", "sent", before.attempt + 1)
