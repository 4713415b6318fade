"""Simulated operators: they submit, repeat themselves, change their minds, and write rows with psql."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from dispatcher.access.roles import Operator, Role
from dispatcher.agents import agent_keys, registry
from dispatcher.commands import cancellation, submission
from dispatcher.commands.delivery import deliver_at_once
from dispatcher.commands.submission import NewCommand
from dispatcher.errors import DispatcherError
from dispatcher.platform.database import Connection
from dispatcher.platform.json_text import dumps
from tests.simulation.agents import SimulatedAgents
from tests.simulation.gateway import exactly
from tests.simulation.record import Submission
from tests.simulation.world import World

PAYLOADS: tuple[Any, ...] = (
    None,
    {},
    {"n": 1},
    {"to": [1, {"x": None}]},
    [1, "a", None],
    "text",
    "",
    7,
    -0.5,
    True,
    2**60,
)
SECONDS = (None, None, None, 5, 30, 300)
SQL_PAYLOADS: tuple[str | None, ...] = (
    "{}", None, "null", "[]", '"text"', "true", "1e400", "12345678901234567890123", '{"a": {"b": [null]}}',
)  # fmt: skip
SQL_STATUSES: tuple[str | None, ...] = ("", "", "", "", "zzz", "PENDING", None)
TOLD_NULLABLE = ("status", "created_at", "priority", "execution_timeout", "max_attempts", "attempt", "cause")
"""Columns that are not nullable, but into which whoever inserts may put NULL: a trigger turns it into the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCommand(NewCommand):
    """A command, and the operator who submits it."""

    submitted_by: str = "ann"


ADMINS = {name: Operator(username=name, role=Role.ADMIN) for name in ("ann", "bob")}
ANN = ADMINS["ann"]


class Operators:
    """All the operators of one history."""

    def __init__(self, world: World, agents: SimulatedAgents) -> None:
        self.world = world
        self.agents = agents
        self.known: list[tuple[str, str]] = []
        """Commands that operators can name: id and action."""
        self.rejected: set[str] = set()
        """Agents that may be rejected."""
        self._keyed: list[OwnCommand] = []
        self._serial = 0

    def _new(self, agent_id: str) -> OwnCommand:
        choose = self.world.choose
        self._serial += 1
        not_before = choose((None, None, None, 10, 100))
        new = OwnCommand(
            agent_id=agent_id,
            action=f"do-{self._serial}",
            payload=PAYLOADS[self._serial % len(PAYLOADS)],
            session_id=choose((None, "s1", "s2")),
            priority=choose((None, None, 5, -5)),
            ttl_seconds=choose(SECONDS),
            not_before=datetime.now(UTC) + timedelta(seconds=not_before) if not_before else None,
            execution_timeout=choose((None, 5, 60)),
            max_attempts=choose((None, None, 1, 2)),
            submitted_by=choose(("ann", "bob")),
            idempotency_key=choose((None, None, "key-1", "key-2")),
        )
        self.agents.sessions[new.action] = new.session_id
        return new

    def submit(self, agent_id: str) -> None:
        """Submit a new command; or one that was submitted with a key already, as it was or with another body."""
        choose = self.world.choose
        new = self._new(agent_id)
        if self._keyed and (how := choose(("", "", "again", "another body"))):
            earlier = self._keyed[-1]
            new = earlier if how == "again" else replace(new, submitted_by=earlier.submitted_by)
            new = replace(new, idempotency_key=earlier.idempotency_key)
        self.submit_exactly([new])

    def submit_many(self, agent_ids: list[str]) -> None:
        """Submit a list: all or none."""
        self.submit_exactly([replace(self._new(agent_id), idempotency_key=None) for agent_id in agent_ids])

    def submit_exactly(self, new: list[OwnCommand]) -> None:
        """Submit commands as they are given."""
        world = self.world
        if new[0].idempotency_key and new[0] not in self._keyed:
            self._keyed.append(new[0])
        world.say("submit " + "; ".join(_described(each) for each in new))
        accepted: list[str] = []
        refused: list[str] = []

        def function(conn: Connection) -> None:
            try:
                answer = submission.submit(conn, new, ADMINS[new[0].submitted_by])
            except DispatcherError as error:
                refused.append(type(error).__name__)
                return
            accepted.extend(each.command.command_id for each in answer)
            self._note(new, "accepted", accepted)
            deliver_at_once(conn, world.gateway, [each.command for each in answer], world.deadline())

        world.observe_submission(new[0].agent_id, lambda: world.run("commands", function).returned and bool(accepted))
        if refused:
            world.say(f"answer: {refused[0]}")
            self._note(new, "refused", [], refused[0])
        elif not accepted:
            self._note(new, "unknown", [])

    def _note(self, new: list[OwnCommand], outcome: str, ids: list[str], reason: str | None = None) -> None:
        for index, each in enumerate(new):
            command_id = ids[index] if ids else None
            self.world.record.submissions.append(
                Submission(
                    at=self.world.record.tick(),
                    action=each.action,
                    agent_id=each.agent_id,
                    operator=each.submitted_by,
                    key=each.idempotency_key,
                    body=repr(replace(each, submitted_by="")),
                    payload=exactly(dumps({} if each.payload is None else each.payload)),
                    outcome=outcome,
                    command_id=command_id,
                    reason=reason,
                )
            )
            if command_id:
                self.known.append((command_id, each.action))

    def insert(self, agent_id: str) -> None:
        """Insert a row with psql: four columns, one more that is NULL, perhaps a status that is none."""
        world = self.world
        self._serial += 1
        action = f"row-{self._serial}"
        payload = world.choose(SQL_PAYLOADS)
        row: dict[str, Any] = {"command_id": f"sql-{self._serial}", "agent_id": agent_id, "action": action}
        row["payload"] = payload
        if agent_id == "docker":
            row["session_id"] = world.choose((None, "s1", "s3"))
        if (status := world.choose(SQL_STATUSES)) != "":
            row["status"] = status
        if world.choose((True, False)):
            row[world.choose((*world.laboratory.nullable, *TOLD_NULLABLE))] = None
        world.say(f"insert {row}")
        statement = sql.SQL("insert into agent_commands ({}) values ({}) returning payload::text").format(
            sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join([sql.Placeholder()] * len(row))
        )
        stored = world.laboratory.observer.execute(statement, list(row.values())).fetchone()
        text = (stored[0] if stored else None) or "{}"
        self.agents.sessions[action] = row.get("session_id")
        self.known.append((row["command_id"], action))
        world.record.submissions.append(
            Submission(
                at=world.record.tick(),
                action=action,
                agent_id=agent_id,
                operator=None,
                key=None,
                body="",
                payload=exactly(text),
                outcome="accepted",
                command_id=row["command_id"],
            )
        )

    def cancel(self, command: tuple[str, str]) -> None:
        """Cancel a command."""
        self.world.say(f"cancel {command[1]}")
        self._ask(lambda conn: cancellation.cancel(conn, self.world.gateway, command[0], ANN))

    def redrive(self, command: tuple[str, str]) -> None:
        """Submit an ended command once more."""
        world = self.world
        world.say(f"redrive {command[1]}")
        source = next(each for each in world.record.submissions if each.command_id == command[0])

        def function(conn: Connection) -> None:
            again = submission.redrive(conn, command[0], ANN).command
            self._note([OwnCommand(agent_id=source.agent_id, action=source.action)], "accepted", [again.command_id])
            world.record.submissions[-1] = replace(world.record.submissions[-1], payload=source.payload)
            deliver_at_once(conn, world.gateway, [again], world.deadline())

        self._ask(function)

    def decide(self, agent_id: str, approval: str) -> None:
        """Approve or reject an agent."""
        self.world.say(f"{agent_id} is {approval}")
        if approval != "approved":
            self.rejected.add(agent_id)
            self.world.trouble(f"operator: agent {approval}", agent_id)
        self._ask(lambda conn: registry.decide(conn, self.world.gateway, agent_id, approval, ANN))

    def change_key(self, agent_id: str) -> None:
        """Give an agent a key, with which it connects from then on; or revoke the one that it has."""
        key_id = self.agents.keys.pop(agent_id, None)
        self.world.say(f"{'revoke the' if key_id else 'issue a'} key of {agent_id}")
        if key_id is None:
            self._ask(lambda conn: self._issue_key(conn, agent_id))
        else:
            self.world.trouble("operator: key revoked", agent_id)
            self._ask(lambda conn: agent_keys.revoke(conn, self.world.gateway, agent_id, key_id, ANN))

    def _issue_key(self, conn: Connection, agent_id: str) -> None:
        key, _ = agent_keys.issue(conn, agent_id, ANN)
        self.agents.keys[agent_id] = str(key.key_id)

    def _ask(self, work: Callable[[Connection], object]) -> None:
        def function(conn: Connection) -> None:
            try:
                work(conn)
            except DispatcherError as error:
                self.world.say(f"answer: {type(error).__name__}")

        self.world.run("operator", function)


def _described(new: OwnCommand) -> str:
    fields = {
        "priority": new.priority,
        "ttl": new.ttl_seconds,
        "notBefore": "later" if new.not_before else None,
        "maxAttempts": new.max_attempts,
        "session": new.session_id,
        "executionTimeout": new.execution_timeout,
        "key": new.idempotency_key and f"{new.submitted_by}/{new.idempotency_key}",
    }
    said = ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)
    return f"{new.action} for {new.agent_id}" + (f" ({said})" if said else "")
