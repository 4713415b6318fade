"""Tells what an agent gets wrong.

    python -m conformance --agent "python -m examples.reference_agent.__main__ --url {url} --id {id} --key {key} --state {dir}"

Starts the agent some times, each time with a server of its own that plays the service.  The agent finds its place in the
environment (DISPATCHER_URL, AGENT_ID, AGENT_API_KEY) or in its command ({url}, {id}, {key}; {dir} is a folder of its own).
The variable AGENT is as good as --agent.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine
from typing import Any

from rich.console import Console
from rich.live import Live

from conformance.checks import BY_NAME, SCENES
from conformance.harness import Options
from conformance.process import NotStartedError
from conformance.report import WIDTH, Progress, as_json, show
from conformance.runner import run, wanted

INTERRUPTED = 130
NOTHING_CHECKED = 2
"""As argparse ends where it does not understand."""
EXAMPLE = """make conformance AGENT='python my_agent.py --url {url} --id {id} --key {key}'"""


def main() -> int:
    """Check the agent that the command line names; return 0 if every MUST holds, 1 if not, 2 if nothing was checked."""
    parser = _parser()
    arguments = parser.parse_args()
    if not arguments.agent.strip():
        return _nothing("There is no agent to check.", f"say what starts it: {EXAMPLE}")
    actions = _actions(parser, arguments.action, arguments.payload)
    options = Options(
        agent=arguments.agent,
        protocol=None if arguments.protocol == "auto" else int(arguments.protocol),
        slow=arguments.slow,
        patience=arguments.patience,
        **({"actions": actions} if actions else {}),
    )
    findings = wanted(arguments.only)
    progress = Progress(findings)
    screen = Console(stderr=True)
    began = time.monotonic()
    with Live(progress, console=screen, transient=True, refresh_per_second=8):
        try:
            asyncio.run(_run_until_told(run(options, findings, at_once=not arguments.one_by_one, told=progress.told)))
        except (asyncio.CancelledError, KeyboardInterrupt):
            return INTERRUPTED
        except NotStartedError as error:
            return _nothing(
                f"{error}.", "mend the command; it is a program with its arguments, a shell line wants sh -c '…'"
            )
    if arguments.json:
        print(as_json(findings, arguments.agent))  # noqa: T201 - what was asked for
    else:
        console = Console(highlight=False)
        show(
            console if console.width <= WIDTH else Console(highlight=False, width=WIDTH),
            findings,
            time.monotonic() - began,
        )
    return 0 if findings.conforms() else 1


def _nothing(why: str, then: str) -> int:
    sys.stderr.write(f"{why}\nNext: {then}\n")
    return NOTHING_CHECKED


async def _run_until_told(running: Coroutine[Any, Any, None]) -> None:
    """Run; a SIGTERM ends it with its agents, as Ctrl-C does."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Tells what an agent gets wrong of docs/protocol.md.",
        epilog="The agent gets DISPATCHER_URL, AGENT_ID and AGENT_API_KEY, and in its command {url}, {id}, {key} and {dir}, a "
        "folder of its own.  Exit code 0: every MUST holds; 1: one does not; 2: nothing was checked.",
    )
    add = parser.add_argument
    add(
        "--agent",
        default=os.environ.get("AGENT", ""),
        metavar="COMMAND",
        help="what starts the agent (the variable AGENT)",
    )
    add(
        "--protocol", choices=("1", "2", "auto"), default="auto", help="the protocol it has to speak (what it asks for)"
    )
    add(
        "--action",
        action="append",
        default=[],
        metavar="NAME",
        help="an action that it knows; again for what is to follow it (start_session, stop_session)",
    )
    add(
        "--payload",
        action="append",
        default=[],
        metavar="JSON",
        help="the payload of the action before; {n} in it becomes a number",
    )
    add(
        *("--only",),
        action="append",
        default=[],
        choices=[*SCENES, *BY_NAME],
        metavar="NAME",
        help=f"a check or a scene, again for more; scenes are {', '.join(SCENES)}",
    )
    add("--slow", action="store_true", help="also what takes its time: heartbeats, asking for approval again (65 s)")
    add("--one-by-one", action="store_true", help="run one agent at a time, for those that bear no other beside them")
    add("--patience", type=float, default=15.0, help="seconds until a started agent must have registered (%(default)s)")
    add("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def _actions(parser: argparse.ArgumentParser, names: list[str], payloads: list[str]) -> tuple[tuple[str, Any], ...]:
    if len(payloads) > len(names):
        parser.error("each --payload belongs to an --action")
    try:
        values = [json.loads(payload) for payload in payloads]
    except ValueError as error:
        parser.error(f"--payload is not JSON: {error}")
    values += [{}] * (len(names) - len(values))
    if not all(isinstance(value, dict) for value in values):
        parser.error("--payload is a JSON object")
    return tuple(zip(names, values, strict=True))


if __name__ == "__main__":
    sys.exit(main())
