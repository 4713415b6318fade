"""Simulated agents: they keep what really reached them, and answer it, or not, late, twice, or over an old socket."""

import json
from dataclasses import dataclass
from typing import Any
from unittest import mock

from dispatcher.agents import presence
from dispatcher.agents.connections import Origin
from dispatcher.commands import flush, reports
from dispatcher.commands.delivery import deliver
from dispatcher.commands.flush import FlushRequest
from dispatcher.protocol.handshake import DeliveryMode, Handshake
from tests.rows import receive
from tests.simulation.gateway import Socket
from tests.simulation.record import Carried, Route, Row, Told, Visit
from tests.simulation.world import World

HANDSHAKES = {"k8s": Handshake(), "docker": Handshake(), "batch": Handshake(mode=DeliveryMode.BATCHING, window=3)}
KINDS = {
    "k8s": ("ack", "complete", "ack", "failed"),
    "docker": ("answer", "answer", "failed answer", "command_error"),
    "batch": ("both", *(f"report {kind}" for kind in ("ack", "complete", "progress", "failed", "retry", "cancelled"))),
}
HEALTHY = {"k8s": ("ack", "complete"), "docker": ("answer",), "batch": ("both",)}
_UNDER_WAY = ("sent", "acknowledged", "timed_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A command that reached an agent."""

    command_id: str
    action: str
    attempt: int
    session_id: str | None


@dataclass(slots=True)
class Journal:
    """Stands in for the logger of reports, to know what was logged as a success."""

    successes: int = 0
    warnings: int = 0

    def info(self, _message: str, **_fields: Any) -> None:
        """Note that something is said to have been settled."""
        self.successes += 1

    def warning(self, _message: str, **_fields: Any) -> None:
        """Note that something is said to have had no effect."""
        self.warnings += 1


class SimulatedAgents:
    """All the agents of one history."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.memory: dict[str, list[Received]] = {agent_id: [] for agent_id in HANDSHAKES}
        self.answered: set[tuple[str, int]] = set()
        self.flushes: list[FlushRequest] = []
        self.sessions: dict[str, str | None] = {}
        self.keys: dict[str, str] = {}
        """The id of the key that an agent connects with, where it has one."""
        world.on_arrival = self._receive

    def _receive(self, socket: Socket, carried: Carried) -> None:
        self.memory[socket.agent_id].append(
            Received(
                command_id=carried.command_id,
                action=str(carried.action),
                attempt=carried.attempt,
                session_id=self.sessions.get(str(carried.action)),
            )
        )

    def sockets(self, agent_id: str) -> tuple[Socket, ...]:
        """List an agent's sockets, the newest first."""
        return tuple(s for s in reversed(self.world.gateway.sockets.values()) if s.agent_id == agent_id)

    # ── Connections ───────────────────────────────────────────────────────────────────────────────────────────────────
    def connect(self, agent_id: str) -> None:
        """Open a socket; whether it is refused, given up, doubled, or overtaken by its own $disconnect is chosen."""
        world = self.world
        socket = world.gateway.open(agent_id)
        world.trouble("agent: connects anew", agent_id)
        how = world.choose(("", "", "", "", "twice", "disconnected first", "given up"))
        world.say(f"{agent_id} connects as {socket.connection_id}" + (f", {how}" if how else ""))
        if how == "disconnected first":
            self._disconnect(socket)
        connected = self._connected(socket)
        if how == "twice" and connected:
            connected = self._connected(socket)
        world.interlude(agent_id)
        if connected is None:
            socket.state = "refused"
        elif how in {"disconnected first", "given up"} and socket.state == "opening":
            socket.state = "closed"
            if how == "given up":
                world.closings.append(socket)
        elif socket.state == "opening":
            socket.state, socket.opened = "open", world.clock.monotonic()
            self.flushes.append(connected)

    def _connected(self, socket: Socket) -> FlushRequest | None:
        world, handshake = self.world, HANDSHAKES[socket.agent_id]
        origin = Origin(key_id=self.keys.get(socket.agent_id))
        connected = world.run(
            "$connect",
            lambda conn: flush.record_connection(
                conn, world.gateway, socket.agent_id, socket.connection_id, handshake=handshake, origin=origin
            ),
            persistently=True,
        )
        return connected.value

    def flush(self, event: FlushRequest) -> None:
        """Handle a flush event."""
        self.world.say(f"flush for {event.agent_id}, connection {event.connection_id}")
        self.world.run("flush", lambda conn: flush.flush(conn, self.world.gateway, event, self.world.deadline()))

    def closed(self, socket: Socket) -> None:
        """Handle the $disconnect event of a socket."""
        self._disconnect(socket)

    def _disconnect(self, socket: Socket) -> None:
        world = self.world
        world.say(f"$disconnect of {socket.agent_id}'s {socket.connection_id}")
        before = world.observer.route(socket.agent_id)
        epoch = world.observer.epoch_of(socket.agent_id, socket.connection_id)
        world.run(
            "$disconnect",
            lambda conn: presence.record_disconnect(conn, socket.agent_id, socket.connection_id),
            persistently=True,
        )
        self._visit(socket, "$disconnect", epoch, before)

    def _visit(self, socket: Socket, what: str, epoch: int, before: Route) -> None:
        after = self.world.observer.route(socket.agent_id)
        self.world.record.visits.append(
            Visit(
                at=self.world.record.tick(),
                agent_id=socket.agent_id,
                connection_id=socket.connection_id,
                what=what,
                epoch=epoch,
                before=before,
                after=after,
            )
        )

    def crash(self, agent_id: str, *, half_open: bool) -> None:
        """Let an agent forget everything and lose its sockets, with or without the gateway noticing."""
        self.world.say(f"{agent_id} crashes and forgets" + (", unnoticed" if half_open else ""))
        self.world.trouble("agent: crashes and forgets", agent_id)
        self.memory[agent_id].clear()
        for socket in self.sockets(agent_id):
            socket.half_open = True
            if not half_open:
                self.world.gateway.cut(socket)

    # ── Frames ────────────────────────────────────────────────────────────────────────────────────────────────────────
    def heartbeat(self, socket: Socket, *, only_seen: bool = False) -> None:
        """Say that the agent lives."""
        if socket.state == "open":
            socket.heard = self.world.clock.monotonic()
        self.say(socket, json.dumps({"type": "heartbeat", "payload": {"activeSessions": 1}}), only_seen=only_seen)

    def tell(self, socket: Socket, received: Received, kind: str) -> None:
        """Report on a command over one of the agent's sockets, which may be an old one, and the command another's."""
        world, observer = self.world, self.world.observer
        if received.session_id is None and "answer" in kind:
            kind = "command_error"
        world.say(f"{socket.agent_id} over {socket.connection_id}: {kind} of {received.action} ({received.attempt})")
        rows = observer.rows()
        epoch = observer.epoch_of(socket.agent_id, socket.connection_id)
        command_id: str | None = received.command_id
        if received.session_id is not None and "answer" in kind:
            route = observer.route(socket.agent_id)
            over = route.epoch - (route.connection_id is not None) if epoch < 0 else epoch
            command_id = _in_flight_of_session(rows, socket.agent_id, received.session_id, over)
        journal = Journal()
        with mock.patch.object(reports, "logger", journal):
            certain, moved = self._receive_frame(socket, frame_of(received, kind))
        later = observer.rows()
        world.record.told.append(
            Told(
                at=world.record.tick(),
                agent_id=socket.agent_id,
                kind=_MEANING.get(kind, kind.removeprefix("report ")),
                attempt=received.attempt if kind == "both" or kind.startswith("report ") else None,
                epoch=epoch,
                command_id=command_id,
                before=rows.get(command_id or ""),
                after=later.get(command_id or ""),
                others=tuple(other for other in rows if other != command_id and rows[other] != later.get(other)),
                certain=certain,
                claimed_success=journal.successes > 0,
                warned=journal.warnings > 0,
            )
        )
        if moved:
            self._deliver(socket.agent_id)

    def say(self, socket: Socket, text: str, *, only_seen: bool = False) -> None:
        """Send any text."""
        self.world.say(f"{socket.agent_id} over {socket.connection_id}: {text[:70]}")
        before = self.world.observer.route(socket.agent_id)
        epoch = self.world.observer.epoch_of(socket.agent_id, socket.connection_id)
        _, moved = self._receive_frame(socket, text)
        self._visit(socket, "message", epoch, before)
        if moved and not only_seen:
            self._deliver(socket.agent_id)

    def _receive_frame(self, socket: Socket, text: str) -> tuple[bool, bool]:
        outcome = self.world.run(
            "message",
            lambda conn: receive(conn, socket.agent_id, socket.connection_id, text),
            persistently=True,
        )
        return outcome.returned, bool(outcome.value)

    def _deliver(self, agent_id: str) -> None:
        world = self.world
        world.run("delivery", lambda conn: deliver(conn, world.gateway, agent_id, world.deadline()))

    def answer_all(self, agent_ids: list[str]) -> None:
        """Let agents do what they owe: acknowledge and complete all that reached them."""
        for agent_id in agent_ids:
            socket = self.sockets(agent_id)[0]
            for received in self.memory[agent_id]:  # grows meanwhile
                if (received.command_id, received.attempt) not in self.answered:
                    self.answered.add((received.command_id, received.attempt))
                    for kind in HEALTHY[agent_id]:
                        self.tell(socket, received, kind)


_MEANING = {"both": "complete", "answer": "complete", "failed answer": "failed", "command_error": "failed"}


def frame_of(received: Received, kind: str) -> str:
    """Write what an agent says of a command, in its own dialect."""
    named = {"commandId": received.command_id}
    numbered = {**named, "attempt": received.attempt}
    if kind == "both":
        done = {"kind": "complete", **numbered, "result": {"n": 1}}
        return json.dumps({"type": "reports", "reports": [{"kind": "ack", **numbered}, done]})
    if kind.startswith("report "):
        fields = {"kind": kind.removeprefix("report "), **numbered, "result": 1, "error": "why", "progress": 1}
        if kind == "report retry":
            fields |= {"kind": "failed", "retryable": True}
        return json.dumps({"type": "reports", "reports": [fields]})
    if kind == "command_error":
        return json.dumps({"type": kind, **named, "error": "why"})
    if "answer" in kind:
        success = kind == "answer"
        answer = {"type": "command_response", "sessionId": received.session_id, "success": success}
        return json.dumps(answer if success else {**answer, "error": "why"})
    return json.dumps({"type": kind, "payload": {**named, "result": 1, "error": "why"}})


def _in_flight_of_session(rows: dict[str, Row], agent_id: str, session_id: str, epoch: int) -> str | None:
    """Tell what an answer of a session means: of what went out over this connection or an older one, the first."""
    found = [
        (row.status == "timed_out", row.seq, command_id)
        for command_id, row in rows.items()
        if row.agent_id == agent_id
        and row.session_id == session_id
        and row.status in _UNDER_WAY
        and row.first_epoch is not None
        and row.first_epoch <= epoch
    ]
    return min(found)[2] if found else None
