"""Mosquitto: persistent sessions with QoS 1 messages, the nearest thing to an agent's waiting commands."""

import contextlib
import selectors
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import BenchError
from bench.peers import MOSQUITTO, free_port
from bench.product import PAYLOAD

SECONDS = 300.0
BODY = f'{{"commandId": "cmd-0123456789abcdef0123456789abcdef", "action": "noop", "payload": {PAYLOAD}}}'
"""What a command of the dispatcher is on the wire, about as long."""
CONFIGURATION = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
max_queued_messages 0
max_inflight_messages 100
"""


@dataclass(slots=True)
class _Client:
    """One subscriber with a persistent session, or the publisher."""

    client: Any
    received: int = 0
    ready: bool = False
    acknowledged: set[int] = field(default_factory=set[int])


class Mosquitto:
    """A running broker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rounds = 0

    def flush(self, clients: int, each: int) -> float:
        """Publish to sessions that are offline; return messages a second from the connects until all are received."""
        self._rounds += 1
        names = [f"{self._rounds}-{number}" for number in range(clients)]
        self._until([self._connect(name, subscribe=True) for name in names], lambda client: client.ready)
        self._publish(names, each)
        began = time.perf_counter()
        sessions = [self._connect(name) for name in names]
        self._until(sessions, lambda client: client.received >= each)
        return clients * each / (time.perf_counter() - began)

    def _connect(self, name: str, *, subscribe: bool = False) -> _Client:
        mqtt = MOSQUITTO.client
        made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        state = _Client(client=made)

        def on_connect(*_: Any) -> None:
            if subscribe:
                made.subscribe(f"agents/{name}", qos=1)
            else:
                state.ready = True

        def on_subscribe(*_: Any) -> None:
            state.ready = True

        def on_message(*_: Any) -> None:
            state.received += 1

        def on_publish(_client: Any, _data: Any, number: int, *_: Any) -> None:
            state.acknowledged.add(number)

        made.on_connect, made.on_subscribe = on_connect, on_subscribe
        made.on_message, made.on_publish = on_message, on_publish
        made.max_inflight_messages_set(1000)
        made.connect("127.0.0.1", self._port, keepalive=600)
        return state

    def _publish(self, names: Sequence[str], each: int) -> None:
        """Publish with QoS 1, and wait until the broker has acknowledged all of it."""
        publisher = self._connect(f"publisher-{self._rounds}")
        numbers = [publisher.client.publish(f"agents/{name}", BODY, qos=1).mid for _ in range(each) for name in names]
        # Message numbers are of 16 bits and come again, so the last ones are waited for.
        last = set(numbers[-1000:])
        self._until([publisher], lambda client: last <= client.acknowledged)

    @staticmethod
    def _until(clients: Sequence[_Client], done: Callable[[_Client], bool]) -> None:
        """Run the clients in this thread until each is done, then disconnect them."""
        deadline = time.monotonic() + SECONDS
        open_ = set(range(len(clients)))
        with selectors.DefaultSelector() as selector:
            for number, state in enumerate(clients):
                selector.register(state.client.socket(), selectors.EVENT_READ, number)
            while open_:
                ready = {key.data for key, _ in selector.select(timeout=0.05)}
                for number in ready & open_:
                    clients[number].client.loop_read()
                for number in list(ready & open_ or open_):
                    state = clients[number]
                    if state.client.want_write():
                        state.client.loop_write()
                    if done(state):
                        open_.discard(number)
                        selector.unregister(state.client.socket())
                if time.monotonic() > deadline:
                    raise BenchError(f"Mosquitto did not finish in {SECONDS:.0f} s")
            for state in clients:
                state.client.disconnect()


@contextlib.contextmanager
def running(folder: Path) -> Generator[Mosquitto]:
    """Run a broker with its data in a folder."""
    port = free_port()
    folder.mkdir(parents=True)
    folder.chmod(0o777)  # as root, the broker changes to a user of its own
    configuration = folder / "mosquitto.conf"
    configuration.write_text(CONFIGURATION.format(port=port, folder=folder), encoding="utf-8")
    with MOSQUITTO.server("-c", str(configuration), port=port, folder=folder):
        yield Mosquitto(port)
