"""Run one program, and end it when the process that started this one ends.

    python -I -S guard.py PROGRAM ARGUMENT...

The starter holds the other end of standard input.  When that closes, as it does also when the starter is killed, or on
SIGTERM, the program gets SIGINT, later SIGQUIT, finally SIGKILL; for PostgreSQL these are a fast shutdown, an immediate
one, and a crash.  Imports nothing but the standard library, so that it starts within 30 ms.
"""

import select
import signal
import subprocess
import sys

STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""The signals that end the program, each with the seconds before the next one."""


def main(program: list[str]) -> int:
    """Run the program; return its exit code, negative when a signal ended it."""
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: signals.append(number))
    with subprocess.Popen(program, stdin=subprocess.DEVNULL) as child:
        while child.poll() is None and not signals and not select.select([sys.stdin], [], [], 0.25)[0]:
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
