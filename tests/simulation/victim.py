"""A process that does one of the dispatcher's works up to a named point, and there waits for its SIGKILL.

python -m tests.simulation.victim POINT DATABASE_URL, which prints the point's name once it is there.
"""

import sys
import time
from collections.abc import Callable
from unittest import mock

from dispatcher.access.roles import Operator, Role
from dispatcher.commands import claims, deadlines, delivery, redelivery, submission
from dispatcher.commands.delivery import deliver, deliver_at_once
from dispatcher.commands.submission import NewCommand
from dispatcher.commands.sweep import sweep
from dispatcher.platform.database import Connection, open_connection
from dispatcher.protocol import frames
from tests.simulation.recorder import Recorder

ONE_A_FRAME = 250
"""Bytes of a frame into which only one command goes."""
ANN = Operator(username="ann", role=Role.ADMIN)


def stop() -> None:
    """Be at the point, for ever."""
    print("here", flush=True)  # noqa: T201 - whoever kills waits for it
    time.sleep(600)


def go_on() -> None:
    """Be at no point."""


def plenty() -> float:
    """Tell that there is a minute left."""
    return 60.0


def at_post(number: int) -> Callable[[], None]:
    """Stop at one of the posts."""
    left = [number]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            stop()

    return count


def submit(conn: Connection, url: str) -> None:
    """Accept two commands, one after the other, and be killed after the second's commit, before anything is sent."""
    del url
    for action in ("do-4", "do-5"):
        submission.submit(conn, [NewCommand(agent_id="a1", action=action, payload={})], ANN)
    stop()


def submit_uncommitted(conn: Connection, url: str) -> None:
    """Be killed in an intake, before its commit."""
    del url
    with conn.transaction():
        submission.submit(conn, [NewCommand(agent_id="a1", action="never", payload={})], ANN)
        stop()


def submit_and_deliver(conn: Connection, url: str) -> None:
    """Accept a list, and be killed in the delivery that follows."""
    accepted = submission.submit(conn, [NewCommand(agent_id="a1", action="do-4", payload={})] * 2, ANN)
    commands = [each.command for each in accepted]
    deliver_at_once(conn, Recorder(url, go_on, at_post(4)), commands, plenty)


def claim(conn: Connection, url: str) -> None:
    """Be killed between claim and post."""
    deliver(conn, Recorder(url, stop, go_on), "a1", plenty)


def claim_uncommitted(conn: Connection, url: str) -> None:
    """Be killed in the claim, before its commit."""
    del url
    with conn.transaction():
        claims.claim(conn, "a1")
        stop()


def post(conn: Connection, url: str) -> None:
    """Be killed between the last post and the settlement."""
    deliver(conn, Recorder(url, go_on, at_post(3)), "a1", plenty)


def batch(conn: Connection, url: str) -> None:
    """Be killed within a batch: after the second frame of three."""
    deliver(conn, Recorder(url, go_on, at_post(2)), "a1", plenty)


def sweep_passes(conn: Connection, url: str) -> None:
    """Be killed in the sweeper, between its passes."""

    def time_out(conn: Connection, limit: int) -> int:
        del conn, limit
        stop()
        return 0

    deadlines.time_out = time_out
    sweep(conn, Recorder(url, go_on, go_on), deadline=plenty)


def sweep_uncommitted(conn: Connection, url: str) -> None:
    """Be killed in the sweeper, within a pass that has released something and not committed it."""
    conn.execute("update agent_commands set ack_deadline = now()")
    release = redelivery.return_unacknowledged

    def release_and_stop(conn: Connection, limit: int) -> int:
        with conn.transaction():
            release(conn, limit)
            stop()
        return 0

    redelivery.return_unacknowledged = release_and_stop
    sweep(conn, Recorder(url, go_on, go_on), deadline=plenty)


def sweep_posts(conn: Connection, url: str) -> None:
    """Be killed in the sweeper, while it delivers."""
    sweep(conn, Recorder(url, go_on, at_post(1)), deadline=plenty)


POINTS: dict[str, Callable[[Connection, str], None]] = {
    "before the commit of an intake": submit_uncommitted,
    "after the commit of an intake": submit,
    "in the delivery after an intake": submit_and_deliver,
    "before the commit of a claim": claim_uncommitted,
    "between claim and post": claim,
    "in the middle of a batch": batch,
    "between post and settle": post,
    "between two passes of the sweeper": sweep_passes,
    "before the commit of a pass of the sweeper": sweep_uncommitted,
    "in a post of the sweeper": sweep_posts,
}


def main(point: str, url: str) -> None:
    """Go to the point."""
    with (
        mock.patch.object(frames, "FRAME_BYTES", ONE_A_FRAME),
        mock.patch.object(delivery, "FRAME_BYTES", ONE_A_FRAME),
        open_connection(url) as conn,
    ):
        POINTS[point](conn, url)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
