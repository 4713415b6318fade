"""Faults of the dispatcher itself, put into its code on purpose: each breaks an invariant, and the checker must say so."""

import inspect
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from dispatcher.agents import presence
from dispatcher.commands import claims, deadlines, delivery, redelivery, reports, settlement, submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One change of one function."""

    module: ModuleType
    where: str
    """A function of the module, or a statement that its functions use."""
    old: str
    new: str

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make it, until the monkeypatch is undone."""
        original: Any = getattr(self.module, self.where)
        text = original.decode() if isinstance(original, bytes) else textwrap.dedent(inspect.getsource(original))
        if self.old not in text:
            raise ValueError(f"{self.where} has no {self.old!r}")
        changed = text.replace(self.old, self.new)
        if isinstance(original, bytes):
            monkeypatch.setattr(self.module, self.where, changed.encode())
            return
        there: dict[str, Any] = {}
        exec(compile(changed, f"<{self.where}, changed>", "exec"), vars(self.module), there)  # noqa: S102 - our own code, changed
        monkeypatch.setattr(self.module, self.where, there[self.where])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A fault of the dispatcher, and the invariant that it breaks."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in, until the monkeypatch is undone."""
        for edit in self.edits:
            edit.put(monkeypatch)


PLANTS = (
    Plant(
        name="accepted before the commit",
        breaks="I1",
        edits=(
            Edit(
                module=submission,
                where="submit",
                old="return [_submit(conn, new[0], request_hash, by)]",
                new="""accepted = [_submit(conn, new[0], request_hash, by)]
        conn.execute("delete from agent_commands where command_id = %s and attempt = 0", (accepted[0].command.command_id,))
        return accepted""",
            ),
        ),
    ),
    Plant(
        name="the expired are not swept",
        breaks="I1",
        edits=(
            Edit(
                module=deadlines,
                where="expire",
                old="deliver_by <= now()",
                new="deliver_by <= '-infinity'",
            ),
        ),
    ),
    Plant(
        name="what was refused counts as completed",
        breaks="I2",
        edits=(
            Edit(
                module=redelivery,
                where="_UNSENT",
                old="when c.attempt < c.max_attempts then 'pending'\n        else 'dead'\n    end",
                new="else 'completed' end",
            ),
        ),
    ),
    Plant(
        name="the attempt is not counted",
        breaks="I3",
        edits=(
            Edit(
                module=claims,
                where="_CLAIM",
                old=" attempt = c.attempt + 1",
                new=" attempt = greatest(1, c.attempt)",
            ),
        ),
    ),
    Plant(
        name="a post without an answer counts as never sent",
        breaks="I3",
        edits=(
            Edit(
                module=delivery,
                where="_send",
                old="""                messages.popleft()
                cause = f"command {first.command_id}""",
                new="""                cause = f"command {first.command_id}""",
            ),
        ),
    ),
    Plant(
        name="the order is reversed",
        breaks="I4",
        edits=(
            Edit(
                module=claims,
                where="_CLAIM",
                old="order by due.priority desc, due.seq",
                new="order by due.priority, due.seq desc",
            ),
        ),
    ),
    Plant(
        name="the lease is ignored",
        breaks="I5",
        edits=(
            Edit(
                module=claims,
                where="_LEASE",
                old="a.lease_expires_at <= now()",
                new="true",
            ),
        ),
    ),
    Plant(
        name="the window is ignored",
        breaks="I5",
        edits=(
            Edit(
                module=claims,
                where="_CLAIM",
                old="greatest(0, a.delivery_window - (",
                new="greatest(5, a.delivery_window - (",
            ),
        ),
    ),
    Plant(
        name="an ack is not guarded",
        breaks="I6",
        edits=(
            Edit(
                module=settlement,
                where="acknowledge",
                old="c.status in ('pending', 'sent')",
                new="true",
            ),
        ),
    ),
    Plant(
        name="the epoch of an ack is ignored",
        breaks="I7",
        edits=(
            Edit(
                module=settlement,
                where="acknowledge",
                old="c.epoch <= %(epoch)s",
                new="%(epoch)s::int is not null",
            ),
        ),
    ),
    Plant(
        name="an old socket's close forgets the newer connection",
        breaks="I8",
        edits=(
            Edit(
                module=presence,
                where="record_disconnect",
                old="connections.forget(conn, connection_id)",
                new='conn.execute("update agents set connection_id = null where agent_id = %s", (agent_id,))',
            ),
        ),
    ),
    Plant(
        name="an agent settles another's command",
        breaks="I9",
        edits=(
            Edit(
                module=settlement,
                where="complete",
                old="c.agent_id = %(agent_id)s",
                new="%(agent_id)s::text is not null",
            ),
        ),
    ),
    Plant(
        name="what moved nothing is logged as a success",
        breaks="I9",
        edits=(
            Edit(
                module=reports,
                where="_log",
                old="if moved:",
                new="if True:",
            ),
        ),
    ),
    Plant(
        name="a key stands for any body",
        breaks="I10",
        edits=(
            Edit(
                module=submission,
                where="_replay",
                old="if known_hash != request_hash:",
                new="if False:",
            ),
        ),
    ),
    Plant(
        name="a pass stumbles over a row",
        breaks="I11",
        edits=(
            Edit(
                module=deadlines,
                where="time_out",
                old="order by c.execution_deadline",
                new="and 1 / (c.priority - c.priority) = 1 order by c.execution_deadline",
            ),
        ),
    ),
    Plant(
        name="a function's clock is written",
        breaks="I12",
        edits=(
            Edit(
                module=claims,
                where="_CLAIM",
                old="sent_at = clock_timestamp()",
                new="sent_at = clock_timestamp() - interval '1 hour'",
            ),
        ),
    ),
    Plant(
        name="a transaction is open across the posts",
        breaks="I13",
        edits=(
            Edit(
                module=delivery,
                where="deliver",
                old="        taken, outcome = _send(conn, gateway, claim, begun, deadline)",
                new="""        with conn.transaction():
            conn.execute("select 1")
            taken, outcome = _send(conn, gateway, claim, begun, deadline)""",
            ),
        ),
    ),
    Plant(
        name="the claim does not look at deliver_by",
        breaks="I14",
        edits=(
            Edit(
                module=claims,
                where="_LEASE",
                old="c.deliver_by > now()",
                new="true",
            ),
            Edit(
                module=claims,
                where="_CLAIM",
                old="due.deliver_by > now()",
                new="true",
            ),
            Edit(
                module=claims,
                where="_CLAIM",
                old="extract(epoch from c.deliver_by - clock_timestamp())::float8",
                new="null::float8",
            ),
        ),
    ),
    Plant(
        name="the wake-up is lost",
        breaks="I15",
        edits=(
            Edit(
                module=delivery,
                where="deliver",
                old="while deadline() > POST_SECONDS + RELEASE_SECONDS:",
                new="for _ in range(1):",
            ),
        ),
    ),
    Plant(
        name="the sweep delivers nothing",
        breaks="I15",
        edits=(
            Edit(
                module=claims,
                where="_DUE_AGENTS",
                old="limit %(limit)s",
                new="limit least(0, %(limit)s)",
            ),
        ),
    ),
    Plant(
        name="a lease never ends",
        breaks="I15",
        edits=(
            Edit(
                module=claims,
                where="_LEASE",
                old="or a.lease_expires_at <= now()",
                new="or false",
            ),
        ),
    ),
    Plant(
        name="what is given back leaves no history",
        breaks="I16",
        edits=(
            Edit(
                module=claims,
                where="release",
                old="        if outcome.gone:",
                new="""        conn.execute("delete from command_history where from_status = 'sent' and to_status = 'pending'")
        if outcome.gone:""",
            ),
        ),
    ),
)
