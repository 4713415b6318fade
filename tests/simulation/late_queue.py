"""The queue of late reports: FIFO for each agent, and at least once."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dispatcher.commands import conversation, late_reports
from dispatcher.platform.database import Connection
from dispatcher.sessions.session_records import SessionStates
from tests.simulation.injected_faults import ActorFault

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation


@dataclass(slots=True)
class LateQueue:
    """Takes the place of SQS: the methods are those of its client."""

    simulation: "Simulation"
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    is_bringing: bool = False
    """Whether a function handles messages of this queue at the moment."""
    _taken: dict[str, int] = field(default_factory=dict[str, int])
    _kept_at: dict[str, float] = field(default_factory=dict[str, float])
    """How many seconds of simulated time had passed when each message was kept."""

    def send_message(self, *, MessageBody: str, MessageGroupId: str, MessageDeduplicationId: str, **_: Any) -> None:  # noqa: N803 - SQS's names
        """Keep a message, once for each deduplication id."""
        if MessageDeduplicationId in self._taken:
            return
        number = self._taken[MessageDeduplicationId] = len(self._taken)
        self.records.append(
            {
                "messageId": str(number),
                "body": MessageBody,
                "attributes": {"MessageGroupId": MessageGroupId, "ApproximateReceiveCount": "1"},
            }
        )
        self._kept_at[str(number)] = self.simulation.clock.shifted
        if known := self.simulation.agents.message_with(json.loads(MessageBody)["text"]):
            known[1].kept.append(number)

    def _older(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a message that was said as long ago as the simulated time says."""
        body = json.loads(record["body"])
        passed = self.simulation.clock.shifted - self._kept_at[record["messageId"]]
        return record | {"body": json.dumps(body | {"said_at": body["said_at"] - int(passed * 1000)})}

    def bring(self, most: int) -> None:
        """Have the function `late_reports` handle the first messages; those that it does not settle come again."""
        simulation = self.simulation
        if not self.records:
            return
        batch = [self._older(record) for record in self.records[:most]]
        simulation.log(f"the queue brings {len(batch)} kept messages")
        self.is_bringing = True

        def function(_conn: Connection) -> list[str]:
            return conversation.handle_kept(
                late_reports.kept_of({"Records": batch}), simulation.gateway, SessionStates(), simulation.deadline()
            )

        outcome = simulation.run("late reports", function)
        self.is_bringing = False
        again = {record["messageId"] for record in batch} if outcome.value is None else set(outcome.value)
        if not again and simulation.choose((False, False, False, True)):
            simulation.record_fault(ActorFault.BROUGHT_AGAIN)
            return
        done = {record["messageId"] for record in batch} - again
        self.records = [record for record in self.records if record["messageId"] not in done]
