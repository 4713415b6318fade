"""Questions to a person at a terminal; none in a pipe."""

import sys

from command_dispatcher.cli.stopping import Exit, Stop, say, usage
from command_dispatcher.cli.values import printable


def is_interactive() -> bool:
    """Tell whether a person can answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that reaches many, or cannot be undone; raises Stop."""
    if yes:
        return
    if not is_interactive():
        raise usage(f"{question} Nobody can answer here.", "repeat it with --yes")
    if _ask(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise Stop(Exit.FAILED, "Nothing was done.")


def ask(name: str, option: str) -> str:
    """Ask for a value that an option did not give; raises Stop."""
    if not is_interactive():
        raise usage(f"{name} is missing.", f"add {option}")
    answer = _ask(f"{name}: ").strip()
    if not answer:
        raise usage(f"{name} is missing.", f"add {option}")
    return answer


def secret(name: str, *, from_stdin: bool, option: str) -> str:
    """Read a secret from stdin, or ask for it without an echo; raises Stop."""
    if from_stdin:
        value = sys.stdin.readline().rstrip("\r\n")
    elif is_interactive():
        import getpass

        value = getpass.getpass(f"{name}: ", stream=sys.stderr)
    else:
        raise usage(f"The {name.lower()} is missing.", f"pass it on stdin, with {option}")
    if not value:
        raise usage(f"The {name.lower()} is empty.")
    return value


def _ask(prompt: str) -> str:
    sys.stderr.write(printable(prompt))
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        say("")
    return line
