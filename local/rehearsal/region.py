"""A lost region: the service goes on in another one, from the last copy of the database.

What it plays on this machine: two homes of `make up` are the regions, a dump is the copy that AWS Backup makes, and the port is
the domain name that leads to the other region.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString

import psycopg

from local.http_client import Client
from local.postgres import server as postgres
from local.rehearsal import service, traffic
from local.rehearsal.traffic import Accepted, Traffic, expect, until

PATIENCE = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the loss of the region cost."""

    recovery_point_seconds: float
    """RPO: how old the copy was when the region was lost."""
    recovery_time_seconds: float
    """RTO: from the loss to the first command that an agent executed in the other region."""
    restore_seconds: float
    """How much of it the database took."""
    accepted: int
    """Commands that the lost region had accepted."""
    lost: int
    """Those that the copy does not have."""
    sent_again: int
    """Lost commands that the operator sent again, under the keys of before."""


def rehearse(folder: Path, show: Callable[[str], None]) -> Outcome:
    """Lose a region under traffic and go on in another one; raises RehearsalFailed if a check fails."""
    binaries, dump, second = postgres.find_binaries(), folder / "copy", folder / "second"
    with service.running(folder / "first") as first:
        port = int(first.url.rpartition(":")[2])
        client = first.client()
        with traffic.running(client, folder / "agents") as load:
            load.wait_for(30)
            copied = time.monotonic()
            subprocess.run([binaries / "pg_dump", "-Fc", "-f", dump, "-d", first.database_url], check=True)
            show(f"the copy was made under traffic, in {time.monotonic() - copied:.1f} s")
            load.wait_for(30)
            lost_at = time.monotonic()
            first.kill()
            load.stop()
            accepted = load.accepted
            show(f"the region is lost; it had accepted {len(accepted)} commands")

            restored = time.monotonic()
            with postgres.running(second, patience=PATIENCE) as server:
                into = ["--no-owner", "--exit-on-error", "-d", server.url]
                subprocess.run([binaries / "pg_restore", *into, dump], check=True)
                with psycopg.connect(server.url) as conn:
                    begun = _ids(conn, "select command_id from agent_commands where status = 'acknowledged'")
            restore_seconds = time.monotonic() - restored
            show(f"the copy is restored into another PostgreSQL, in {restore_seconds:.1f} s")
            with service.running(second, port=port) as other:
                return _go_on(
                    other,
                    load,
                    accepted,
                    begun=begun,
                    copied=copied,
                    lost_at=lost_at,
                    restore_seconds=restore_seconds,
                    show=show,
                )


def _go_on(
    other: service.Service,
    load: Traffic,
    accepted: list[Accepted],
    *,
    begun: set[str],
    copied: float,
    lost_at: float,
    restore_seconds: float,
    show: Callable[[str], None],
) -> Outcome:
    client = other.client()
    before = load.executed().total()
    for agent in load.operator.agents:
        _submit(client, agent, f"first-{agent}")
    until("an agent is back and executes a command", lambda: load.executed().total() > before, PATIENCE)
    recovery = time.monotonic() - lost_at
    show(f"agents have reconnected by themselves, and execute commands, {recovery:.1f} s after the loss")

    with psycopg.connect(other.database_url) as conn:
        kept = _ids(conn, "select command_id from agent_commands")
    lost = [each for each in accepted if each.command_id not in kept]
    expect(all(each.at > copied for each in lost), "only commands that were accepted after the copy are lost")
    again = {each.key: _submit(client, each.agent_id, each.key) for each in accepted}
    unchanged = [each for each in accepted if again[each.key] == each.command_id]
    expect(
        {each.command_id for each in unchanged}
        == {each.command_id for each in accepted} - {e.command_id for e in lost},
        "a command that the copy has keeps its id when it is sent again",
    )
    for command_id in again.values():
        until(f"{command_id} has ended", partial(_has_ended, client, command_id), PATIENCE)
        status = _status(client, command_id)
        # What an agent was executing at the moment of the copy: it told its result to the lost region, and is done with it.
        is_known_loss = status == "timed_out" and command_id in begun
        expect(status == "completed" or is_known_loss, f"{command_id} is completed, not {status}")
    executed = load.executed()
    twice = [command_id for command_id, times in executed.items() if times > 1]
    expect(not twice, f"no command is executed twice under one id; these are: {twice[:5]}")
    expect(all(executed[command_id] == 1 for command_id in again.values()), "each command is executed")
    check = client.get("/api/v1/loss-check")
    expect(check["clean"], f"the loss check is clean: {check['findings']}")
    show(
        f"{len(unchanged)} commands went on, {len(lost)} were lost and sent again; none was executed twice under one id"
    )
    return Outcome(
        recovery_point_seconds=lost_at - copied,
        recovery_time_seconds=recovery,
        restore_seconds=restore_seconds,
        accepted=len(accepted),
        lost=len(lost),
        sent_again=sum(again[each.key] != each.command_id for each in lost),
    )


def _ids(conn: psycopg.Connection, query: LiteralString) -> set[str]:
    return {command_id for (command_id,) in conn.execute(query).fetchall()}


def _submit(client: Client, agent: str, key: str) -> str:
    path = f"/api/v1/agents/{agent}/commands"
    command_id: str = client.post(path, {"action": "work", "payload": {"key": key}}, idempotency_key=key)["commandId"]
    return command_id


def _has_ended(client: Client, command_id: str) -> bool:
    return _status(client, command_id) in traffic.ENDED


def _status(client: Client, command_id: str) -> str:
    status: str = client.get(f"/api/v1/commands/{command_id}")["status"]
    return status
