"""Run one program for exactly as long as the process that started this one lives: the program must not outlive it.

    python -I -S guard.py PROGRAM ARGUMENT...

The starter holds the other end of standard input.  When that closes, when the starter is gone (a SIGKILL lets nobody
say goodbye) or on SIGTERM, the program gets SIGINT, later SIGQUIT, at last SIGKILL; for PostgreSQL these are a fast
shutdown, an immediate one, and a crash.  Imports nothing but the standard library, so that it starts within 30 ms.
"""

import os
import select
import signal
import subprocess
import sys

STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""The signals that end the program, each with the seconds that it is given."""


def main(program: list[str]) -> int:
    """Run the program; return its exit code, negative when a signal ended it."""
    starter = os.getppid()
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, lambda _number, _frame: None)
    with subprocess.Popen(program, stdin=subprocess.DEVNULL) as child:
        # The pipe alone is not enough: a fork of the starter may hold its other end open for longer.
        while os.getppid() == starter and not select.select([sys.stdin, told], [], [], 0.25)[0]:
            pass
        for number, seconds in STEPS:
            child.send_signal(number)
            try:
                return child.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
