"""Bugs that are put into the dispatcher on purpose.  Each breaks an invariant, and the checker must find it.

Each has a scenario in which it shows; without the bug, the same scenario breaks no invariant.
"""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from dispatcher.agents import presence
from dispatcher.commands import claims, deadlines, delivery, redelivery, reports, settlement, submission
from tests.simulation import fault_scenarios as scenarios
from tests.simulation.fault_scenarios import Scenario


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one function, or of one statement that the module's functions use."""

    module: ModuleType
    name: str
    old: str
    new: str

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change it until the monkeypatch is undone."""
        original: Any = getattr(self.module, self.name)
        is_statement = isinstance(original, bytes)
        text = original.decode() if is_statement else textwrap.dedent(inspect.getsource(original))
        if self.old not in text:
            raise ValueError(f"{self.name} does not contain {self.old!r}")
        changed: Any = text.replace(self.old, self.new)
        if is_statement:
            changed = changed.encode()
        else:
            defined: dict[str, Any] = {}
            exec(compile(changed, f"<{self.name}, changed>", "exec"), vars(self.module), defined)  # noqa: S102 - our own code
            changed = defined[self.name]
        monkeypatch.setattr(self.module, self.name, changed)


class PlantedFault:
    """A bug, the invariant that it breaks, and the scenario in which it shows."""

    def __init__(self, name: str, breaks: str, shown_by: Callable[[Scenario], None], *edits: Edit) -> None:
        self.name, self.breaks, self.shown_by, self.edits = name, breaks, shown_by, edits

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the bug in until the monkeypatch is undone."""
        for edit in self.edits:
            edit.apply(monkeypatch)


PLANTED_FAULTS = (
    PlantedFault(
        "a command is accepted before its commit",
        "I1",
        scenarios.offline_agent,
        Edit(
            submission,
            "submit",
            "accepted = [_submit(conn, new[0], request_hash, by)]  # a single statement is a transaction",
            """accepted = [_submit(conn, new[0], request_hash, by)]
        conn.execute("delete from agent_commands where command_id = %s and attempt = 0", (accepted[0].command.command_id,))""",
        ),
    ),
    PlantedFault(
        "overdue commands do not expire",
        "I1",
        scenarios.expiry,
        Edit(deadlines, "expire", "deliver_by <= now()", "deliver_by <= '-infinity'"),
    ),
    PlantedFault(
        "a refused command counts as completed",
        "I2",
        scenarios.refused_post,
        Edit(
            redelivery,
            "_UNSENT",
            "when c.attempt < c.max_attempts then 'pending'\n        else 'dead'\n    end",
            "else 'completed' end",
        ),
    ),
    PlantedFault(
        "attempts are not counted",
        "I3",
        scenarios.missing_ack,
        Edit(claims, "_CLAIM", " attempt = c.attempt + 1", " attempt = greatest(1, c.attempt)"),
    ),
    PlantedFault(
        "a post without an answer counts as not sent",
        "I3",
        scenarios.post_without_answer,
        Edit(
            delivery,
            "_send",
            """                messages.popleft()
                cause = f"command {first.command_id}""",
            """                cause = f"command {first.command_id}""",
        ),
    ),
    PlantedFault(
        "the order is reversed",
        "I4",
        scenarios.backlog,
        Edit(claims, "_CLAIM", "order by due.priority desc, due.seq", "order by due.priority, due.seq desc"),
    ),
    PlantedFault(
        "the lease is ignored",
        "I5",
        scenarios.submission_during_post,
        Edit(claims, "_LEASE", "a.lease_expires_at <= now()", "true"),
    ),
    PlantedFault(
        "the window is ignored",
        "I5",
        scenarios.backlog,
        Edit(claims, "_CLAIM", "greatest(0, a.delivery_window - (", "greatest(5, a.delivery_window - ("),
    ),
    PlantedFault(
        "an ack is accepted in every status",
        "I6",
        scenarios.repeated_reports,
        Edit(settlement, "acknowledge", "c.status in ('pending', 'sent')", "true"),
    ),
    PlantedFault(
        "the epoch of an ack is ignored",
        "I7",
        scenarios.late_ack,
        Edit(settlement, "acknowledge", "c.epoch <= %(epoch)s::bigint", "%(epoch)s::bigint is not null"),
    ),
    PlantedFault(
        "an old $disconnect forgets the newer connection",
        "I8",
        scenarios.late_disconnect,
        Edit(
            presence,
            "record_disconnect",
            "connections.forget(conn, agent_id, connection_id)",
            'conn.execute("update agents set connection_id = null where agent_id = %s", (agent_id,))',
        ),
    ),
    PlantedFault(
        "an agent can complete another agent's command",
        "I9",
        scenarios.forged_report,
        Edit(settlement, "complete", "c.agent_id = %(agent_id)s", "%(agent_id)s::text is not null"),
    ),
    PlantedFault(
        "a report that changes nothing is logged as success",
        "I9",
        scenarios.repeated_reports,
        Edit(reports, "_log", "if moved:", "if True:"),
    ),
    PlantedFault(
        "an idempotency key stands for any request",
        "I10",
        scenarios.reused_key,
        Edit(submission, "_replay", "if known_hash != request_hash:", "if False:"),
    ),
    PlantedFault(
        "a row makes a pass of the sweep fail",
        "I11",
        scenarios.missing_result,
        Edit(
            deadlines,
            "time_out",
            "order by c.execution_deadline",
            "and 1 / (c.priority - c.priority) = 1 order by c.execution_deadline",
        ),
    ),
    PlantedFault(
        "a time comes from another clock",
        "I12",
        scenarios.missing_ack,
        Edit(claims, "_CLAIM", "sent_at = clock_timestamp()", "sent_at = clock_timestamp() - interval '1 hour'"),
    ),
    PlantedFault(
        "a transaction stays open during the posts",
        "I13",
        scenarios.missing_ack,
        Edit(
            delivery,
            "deliver",
            "        taken, outcome = _send(conn, gateway, claim, begun, deadline)",
            """        with conn.transaction():
            conn.execute("select 1")
            taken, outcome = _send(conn, gateway, claim, begun, deadline)""",
        ),
    ),
    PlantedFault(
        "a claim ignores deliver_by",
        "I14",
        scenarios.connection_after_expiry,
        Edit(claims, "_LEASE", "c.deliver_by > now()", "true"),
        Edit(claims, "_CLAIM", "due.deliver_by > now()", "true"),
        Edit(claims, "_CLAIM", "extract(epoch from c.deliver_by - clock_timestamp())::float8", "null::float8"),
    ),
    PlantedFault(
        "a holder of the lease does not look again",
        "I15",
        scenarios.submission_during_post,
        Edit(delivery, "deliver", "while deadline() > POST_SECONDS + RELEASE_SECONDS:", "for _ in range(1):"),
    ),
    PlantedFault(
        "the sweep delivers nothing",
        "I15",
        scenarios.inserted_row,
        Edit(claims, "_DUE_AGENTS", "limit %(limit)s", "limit least(0, %(limit)s)"),
    ),
    PlantedFault(
        "a lease never expires",
        "I15",
        scenarios.killed_lease_holder,
        Edit(claims, "_LEASE", "or a.lease_expires_at <= now()", "or false"),
    ),
    PlantedFault(
        "a returned command leaves no history",
        "I16",
        scenarios.refused_post,
        Edit(
            claims,
            "release",
            "        if outcome.gone:",
            """        conn.execute("delete from command_history where from_status = 'sent' and to_status = 'pending'")
        if outcome.gone:""",
        ),
    ),
)
