"""A process that works up to a named point, prints "ready" there, and waits until it is killed.

python -m tests.simulation.killed_process POINT DATABASE_URL
"""

import signal
import sys
from collections.abc import Callable
from unittest import mock

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import claims, deadlines, delivery, redelivery, submission
from dispatcher.commands.delivery import deliver, deliver_at_once
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol import frames
from tests.fakes import plenty
from tests.simulation.recording_gateway import RecordingGateway

ONE_COMMAND_BYTES = 250
"""The size of a message that has room for one command."""
APPLICATION_NAME = "killed_process"
"""The name of its database session."""
ANN = Operator(username="ann", role=Role.ADMIN)


def wait_for_kill(*_arguments: object) -> None:
    """Say that the point is reached, and stay there."""
    print("ready", flush=True)  # noqa: T201 - the process that kills reads it
    while True:
        signal.pause()


def at_post(number: int) -> Callable[[], None]:
    """Return a function that waits for the kill when it is called for the n-th time."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            wait_for_kill()

    return count


def new(action: str) -> NewCommand:
    """Return a command for the agent."""
    return NewCommand(agent_id="a1", action=action, payload={})


def submit(conn: Connection, url: str) -> None:
    """Submit two commands, and send nothing."""
    del url
    for action in ("do-4", "do-5"):
        submission.submit(conn, new(action), ANN)
    wait_for_kill()


def submit_uncommitted(conn: Connection, url: str) -> None:
    """Submit a command, and commit nothing."""
    del url
    with conn.transaction():
        submission.submit(conn, new("never"), ANN)
        wait_for_kill()


def submit_and_deliver(conn: Connection, url: str) -> None:
    """Submit a list, and deliver it after the three commands that wait."""
    submission.submit_list(conn, [new("do-4")] * 2, None, ANN)
    deliver_at_once(conn, RecordingGateway(url, after=at_post(4)), "a1", plenty)


def claim_uncommitted(conn: Connection, url: str) -> None:
    """Claim commands, and commit nothing."""
    del url
    with conn.transaction():
        claims.claim(conn, "a1")
        wait_for_kill()


def sweep_between_passes(conn: Connection, url: str) -> None:
    """Sweep up to the pass `time out`."""
    with mock.patch.object(deadlines, "time_out", side_effect=wait_for_kill):
        sweep(conn, RecordingGateway(url), deadline=plenty)


def sweep_uncommitted(conn: Connection, url: str) -> None:
    """Sweep, and return commands to the queue without a commit."""
    conn.execute("update agent_commands set ack_deadline = now()")
    return_unacknowledged = redelivery.return_unacknowledged

    def stop_before_commit(conn: Connection, limit: int) -> None:
        with conn.transaction():
            return_unacknowledged(conn, limit)
            wait_for_kill()

    with mock.patch.object(redelivery, "return_unacknowledged", stop_before_commit):
        sweep(conn, RecordingGateway(url), deadline=plenty)


POINTS: dict[str, Callable[[Connection, str], object]] = {
    "before the commit of a submission": submit_uncommitted,
    "after the commit of a submission": submit,
    "in the delivery after a submission": submit_and_deliver,
    "before the commit of a claim": claim_uncommitted,
    "between claim and post": lambda conn, url: deliver(
        conn, RecordingGateway(url, before=wait_for_kill), "a1", plenty
    ),
    "in the middle of a batch": lambda conn, url: deliver(conn, RecordingGateway(url, after=at_post(2)), "a1", plenty),
    "between post and settlement": lambda conn, url: deliver(
        conn, RecordingGateway(url, after=at_post(3)), "a1", plenty
    ),
    "between two passes of the sweep": sweep_between_passes,
    "before the commit of a pass of the sweep": sweep_uncommitted,
    "in a post of the sweep": lambda conn, url: sweep(conn, RecordingGateway(url, after=at_post(1)), deadline=plenty),
}


def main(point: str, url: str) -> None:
    """Work up to the point."""
    with (
        mock.patch.object(frames, "MESSAGE_BYTES", ONE_COMMAND_BYTES),
        mock.patch.object(delivery, "MESSAGE_BYTES", ONE_COMMAND_BYTES),
        open_connection(f"{url}?application_name={APPLICATION_NAME}") as conn,
    ):
        POINTS[point](conn, url)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
