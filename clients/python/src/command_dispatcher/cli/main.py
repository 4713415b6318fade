"""The script `dispatcher`: every command, and how an error ends."""

import io
import os
import sys
import traceback

from command_dispatcher import __version__
from command_dispatcher.cli.stopping import Exit, Stop, report, say, usage


def main() -> None:
    """Run the command line; leaves with one of the exit codes, never with a stack trace."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        sys.stdout.write(f"dispatcher {__version__}\n")
        sys.exit(Exit.COMPLETED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 gets what it can show
    sys.exit(_run())


def _words() -> list[str]:
    """Return the arguments as UTF-8, which Python does not assume in every locale; raises Stop."""
    try:
        return [os.fsencode(word).decode() for word in sys.argv[1:]]
    except UnicodeDecodeError:
        raise usage("An argument is not a text in UTF-8.") from None


def _run() -> int:
    try:
        from command_dispatcher.cli.app import build

        words = _words()
        build(words)(args=words, prog_name="dispatcher")
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
