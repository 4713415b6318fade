"""The script `dispatcher`: every command, and how an error ends."""

import io
import os
import sys
import traceback

from command_dispatcher import __version__
from command_dispatcher.cli.stopping import Exit, Stop, report, say


def main() -> None:
    """Run the command line; leaves with one of the exit codes, never with a stack trace."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"dispatcher {__version__}\n")
        sys.exit(Exit.COMPLETED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 gets what it can show
    sys.exit(_run())


def _run() -> int:
    try:
        from command_dispatcher.cli.app import build

        build(sys.argv[1:])(prog_name="dispatcher")
    except Stop as stop:
        report(str(stop), stop.hints)
        return stop.code
    except KeyboardInterrupt:
        say("")
        return Exit.INTERRUPTED
    except OSError as error:
        report(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.FAILED
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever happened
        report(
            f"This should not have happened: {type(error).__name__}: {error}",
            ["report it; with DISPATCHER_DEBUG=1 it shows where it happened"],
        )
        if os.environ.get("DISPATCHER_DEBUG"):
            traceback.print_exc()
        return Exit.FAILED
    return Exit.COMPLETED
