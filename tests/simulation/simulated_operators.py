"""Simulated operators: they submit, repeat requests, cancel, redrive, approve, reject, and insert rows with psql."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from psycopg import sql

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys, registry
from dispatcher.commands import cancellation, submission
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.commands.flush import hand_over
from dispatcher.commands.submission import NewCommand
from dispatcher.errors import DispatcherError
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps
from tests.simulation.faulty_gateway import decode_exactly
from tests.simulation.history import Deletion, Submission
from tests.simulation.injected_faults import ActorFault
from tests.simulation.simulation_database import PLATFORMS
from tests.simulation.table_columns import NULL_MEANS_DEFAULT

if TYPE_CHECKING:
    from tests.simulation.simulator import Simulation

PAYLOADS: tuple[Any, ...] = (
    None, {}, {"n": 1}, {"to": [1, {"x": None}]}, [1, "a", None], "text", "", 7, -0.5, True, 2**60,
)  # fmt: skip
SQL_PAYLOADS: tuple[str | None, ...] = (
    "{}", None, "null", "[]", '"text"', "true", "1e400", "12345678901234567890123", '{"a": {"b": [null]}}',
)  # fmt: skip
SQL_STATUSES: tuple[str | None, ...] = ("", "", "", "", "zzz", "PENDING", None)
"""Statuses of inserted rows; empty: the column is not named."""
ADMINS = {name: Operator(username=name, role=Role.ADMIN) for name in ("ann", "bob")}
ANN = ADMINS["ann"]


@dataclass(slots=True)
class SimulatedOperators:
    """All the operators of one history."""

    simulation: "Simulation"
    known: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Commands that operators know: id and action."""
    rejected: set[str] = field(default_factory=set[str])
    """Agents that may be rejected."""
    _keyed: list[tuple[NewCommand, str]] = field(default_factory=list[tuple[NewCommand, str]])
    """Requests with an idempotency key, and who sent them."""
    _commands: int = 0

    def _next_action(self, prefix: str) -> str:
        self._commands += 1
        return f"{prefix}-{self._commands}"

    def _new_command(self, agent_id: str) -> NewCommand:
        choose = self.simulation.choose
        not_before = choose((None, None, None, 10, 100))
        return NewCommand(
            agent_id=agent_id,
            action=self._next_action("do"),
            payload=self._payload(agent_id),
            session_id=choose((None, "s1", "s2")),
            priority=choose((None, None, 5, -5)),
            ttl_seconds=choose((None, None, None, 5, 30, 300)),
            not_before=datetime.now(UTC) + timedelta(seconds=not_before) if not_before else None,
            execution_timeout=choose((None, 5, 60)),
            max_attempts=choose((None, None, 1, 2)),
            redeliver_after_ack=choose((False, False, True)),
            idempotency_key=choose((None, None, "key-1", "key-2")),
        )

    def _payload(self, agent_id: str) -> Any:
        payload: Any = PAYLOADS[self._commands % len(PAYLOADS)]
        # The others read only objects, and refuse the rest.
        is_readable = agent_id == "batch" or payload is None or isinstance(payload, dict)
        if is_readable or self._commands % 4 == 0:
            return cast("Any", payload)
        return {}

    def submit(self, agent_id: str) -> None:
        """Submit a new command, or repeat an idempotency key with the same request or another one."""
        choose = self.simulation.choose
        command, operator = self._new_command(agent_id), choose(("ann", "bob"))
        if self._keyed and (how := choose(("", "", "again", "another request"))):
            earlier, operator = self._keyed[-1]
            command = earlier if how == "again" else replace(command, idempotency_key=earlier.idempotency_key)
        self.submit_exactly([command], operator)

    def submit_list(self, agent_ids: list[str]) -> None:
        """Submit a list of commands: all are accepted, or none."""
        self.submit_exactly([replace(self._new_command(agent_id), idempotency_key=None) for agent_id in agent_ids])

    def submit_exactly(self, commands: list[NewCommand], operator: str = "ann") -> None:
        """Submit these commands."""
        simulation = self.simulation
        if commands[0].idempotency_key and (commands[0], operator) not in self._keyed:
            self._keyed.append((commands[0], operator))
        simulation.log(f"{operator} submits " + "; ".join(map(_described, commands)))
        accepted: list[str] = []
        refused: list[str] = []

        def function(conn: Connection) -> None:
            try:
                ids, deliver = self._submit(conn, commands, ADMINS[operator])
            except DispatcherError as error:
                refused.append(type(error).__name__)
                return
            accepted.extend(ids)
            for command, command_id in zip(commands, ids, strict=True):
                self._record(command, operator, "accepted", command_id=command_id)
            deliver()

        simulation.observe_submission(
            commands[0].agent_id, lambda: simulation.run("commands", function).returned and bool(accepted)
        )
        if refused:
            simulation.log(f"answer: {refused[0]}")
        if not accepted:
            for command in commands:
                self._record(command, operator, "refused" if refused else "unknown", reason="".join(refused))

    def _submit(
        self, conn: Connection, commands: list[NewCommand], by: Operator
    ) -> tuple[list[str], Callable[[], None]]:
        """Submit as the function `commands` does; return the ids, and what delivers the commands."""
        gateway, deadline = self.simulation.gateway, self.simulation.deadline()
        if len(commands) > 1:
            entries = submission.submit_list(conn, commands, None, by)
            return [entry.command_id for entry in entries], lambda: hand_over(
                conn, [entry.agent_id for entry in entries]
            )
        answer = submission.submit(conn, commands[0], by, claim=True)

        def deliver() -> None:
            if answer.claim is not None:
                deliver_at_once(conn, gateway, answer.command.agent_id, deadline, claim=answer.claim)

        return [answer.command.command_id], deliver

    def _record(
        self,
        command: NewCommand,
        operator: str | None,
        outcome: str,
        *,
        command_id: str | None = None,
        reason: str | None = None,
        payload_text: str | None = None,
    ) -> None:
        agents = self.simulation.agents
        incarnation: int | None = agents.incarnations.get(command.agent_id)
        if operator is None and command.agent_id in agents.deleted:  # inserted for whichever agent gets the id
            incarnation = None
        text = payload_text or dumps({} if command.payload is None else command.payload)
        self.simulation.agents.sessions[command.action] = command.session_id
        self.simulation.history.submissions.append(
            Submission(
                action=command.action,
                agent_id=command.agent_id,
                operator=operator,
                key=command.idempotency_key,
                body=repr(command),
                payload=decode_exactly(text),
                outcome=outcome,
                command_id=command_id,
                reason=reason,
                incarnation=incarnation,
            )
        )
        if command_id:
            self.known.append((command_id, command.action))

    def insert(self, agent_id: str) -> None:
        """Insert a row with psql: four columns, perhaps one more that is NULL, perhaps an unknown status."""
        simulation = self.simulation
        action = command_id = self._next_action("row")
        payload = simulation.choose(SQL_PAYLOADS)
        row: dict[str, Any] = {"command_id": command_id, "agent_id": agent_id, "action": action, "payload": payload}
        if agent_id == "docker":
            row["session_id"] = simulation.choose((None, "s1", "s3"))
        if (status := simulation.choose(SQL_STATUSES)) != "":
            row["status"] = status
        if simulation.choose((True, False)):
            row[simulation.choose((*simulation.database.nullable_columns, *NULL_MEANS_DEFAULT))] = None
        simulation.log(f"insert {row}")
        statement = sql.SQL("insert into agent_commands ({}) values ({}) returning payload::text").format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join([sql.Placeholder()] * len(row))
        )
        (stored,) = simulation.database.observer.execute(statement, list(row.values())).fetchone() or (None,)
        command = NewCommand(agent_id=agent_id, action=action, session_id=row.get("session_id"))
        self._record(command, None, "accepted", command_id=command_id, payload_text=stored or "{}")

    def cancel(self, command: tuple[str, str]) -> None:
        """Cancel a command."""
        self.simulation.log(f"cancel {command[1]}")
        deadline = self.simulation.deadline()
        self._run(lambda conn: cancellation.cancel(conn, self.simulation.gateway, command[0], ANN, deadline))

    def redrive(self, command: tuple[str, str]) -> None:
        """Submit an ended command again."""
        simulation = self.simulation
        simulation.log(f"redrive {command[1]}")
        source = next(each for each in simulation.history.submissions if each.command_id == command[0])

        def work(conn: Connection) -> None:
            submitted = submission.redrive(conn, command[0], ANN, claim=True)
            again = submitted.command
            simulation.history.submissions.append(
                replace(
                    source,
                    operator="ann",
                    key=None,
                    outcome="accepted",
                    command_id=again.command_id,
                    incarnation=simulation.agents.incarnations[again.agent_id],
                )
            )
            self.known.append((again.command_id, again.action))
            if submitted.claim is not None:
                deliver_at_once(conn, simulation.gateway, again.agent_id, simulation.deadline(), claim=submitted.claim)

        self._run(work)

    def set_approval(self, agent_id: str, approval: str) -> None:
        """Approve or reject an agent."""
        self.simulation.log(f"{agent_id} is {approval}")
        if approval != "approved":
            self.rejected.add(agent_id)
            self.simulation.record_fault(ActorFault.AGENT_REJECTED, agent_id)
        self._run(lambda conn: registry.set_approval(conn, self.simulation.gateway, agent_id, approval, ANN))

    def change_key(self, agent_id: str) -> None:
        """Issue a key to an agent, which connects with it from then on; or revoke the one that it has."""
        key_id = self.simulation.agents.key_ids[agent_id]
        self.simulation.log(f"{'revoke the' if key_id else 'issue a'} key of {agent_id}")
        if key_id is None:
            self._run(lambda conn: agent_keys.issue(conn, agent_id, ANN))
        else:
            self.simulation.record_fault(ActorFault.KEY_REVOKED, agent_id)
            self._run(lambda conn: agent_keys.revoke(conn, self.simulation.gateway, agent_id, key_id, ANN))
        self._note(agent_id)

    def delete(self, agent_id: str) -> None:
        """Delete an agent; its sockets may stay open for a while."""
        simulation = self.simulation
        simulation.log(f"delete {agent_id}")
        simulation.record_fault(ActorFault.AGENT_DELETED, agent_id)
        self._run(lambda conn: registry.delete(conn, simulation.gateway, agent_id, ANN))
        self._note(agent_id)

    def create(self, agent_id: str) -> None:
        """Create an agent with the id of a deleted one."""
        self.simulation.log(f"create {agent_id}")

        def work(conn: Connection) -> None:
            with conn.transaction():
                created = registry.insert(
                    conn, agent_id=agent_id, platform=PLATFORMS[agent_id], region=None, labels={}, approval="approved"
                )
                if created is not None:
                    agent_keys.add(conn, agent_id, "ann")

        self._run(work)
        self._note(agent_id)

    def _note(self, agent_id: str) -> None:
        """Note what became of an agent: the function may have been killed before or after its commit."""
        agents, row = self.simulation.agents, self.simulation.observer.agent(agent_id)
        agents.key_ids[agent_id] = self.simulation.observer.valid_key(agent_id)
        agents.incarnations[agent_id] = row.incarnation
        if row.deleted and agent_id not in agents.deleted:
            agents.deleted.add(agent_id)
            agents.forget(agent_id)
            if agent_id == "batch":
                agents.outbox.clear()
            alive = self.simulation.observer.alive_of(agent_id, row.incarnation)
            self.simulation.history.deletions.append(Deletion(agent_id=agent_id, alive=alive))
        elif not row.deleted:
            agents.deleted.discard(agent_id)

    def _run(self, work: Callable[[Connection], object]) -> None:
        def function(conn: Connection) -> None:
            try:
                work(conn)
            except DispatcherError as error:
                self.simulation.log(f"answer: {type(error).__name__}")

        self.simulation.run("operator", function)


def _described(command: NewCommand) -> str:
    fields = {
        "priority": command.priority,
        "ttl": command.ttl_seconds,
        "notBefore": "later" if command.not_before else None,
        "maxAttempts": command.max_attempts,
        "session": command.session_id,
        "executionTimeout": command.execution_timeout,
        "key": command.idempotency_key,
    }
    named = ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)
    return f"{command.action} for {command.agent_id}" + (f" ({named})" if named else "")
