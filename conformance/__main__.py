"""Checks an agent against docs/protocol.md and reports what it does wrong.

    python -m conformance --agent "python -m examples.reference_agent --url {url} --id {id} --key {key} --state {dir}"

The kit starts the agent several times, each time with its own simulated service.  The agent reads where to connect from
its environment (DISPATCHER_URL, AGENT_ID, AGENT_API_KEY, AGENT_STATE) or from its command ({url}, {id}, {key}); {dir} is a
folder for its own use.  The environment variable AGENT replaces --agent.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from rich.console import Console

from conformance.agent_process import NotStartedError
from conformance.checks import BY_NAME
from conformance.findings_report import WIDTH, as_json, show
from conformance.harness import Limits, Options
from conformance.scenario_runner import findings_for, run
from conformance.scenarios import SCENARIOS

INTERRUPTED = 130
NOTHING_CHECKED = 2
"""The exit code of argparse after a mistake in the command line."""
EXAMPLE = """make conformance AGENT='python my_agent.py --url {url} --id {id} --key {key}'"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the agent; return 0 if it passes every MUST, 1 if not, 2 if nothing was checked."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.agent.strip():
        return _nothing_checked("No agent was named.", f"name the command that starts it: {EXAMPLE}")
    actions = _actions(parser, options.action, options.payload)
    findings = findings_for(options.only)
    kit_options = Options(
        agent=options.agent,
        protocol=None if options.protocol == "auto" else int(options.protocol),
        slow=options.slow,
        limits=Limits(start=options.patience),
        **({"actions": actions} if actions else {}),
    )
    began = time.monotonic()
    try:
        running = run(kit_options, findings, at_once=not options.one_by_one, on_finished=_tell_finished)
        asyncio.run(_until_signal(running))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return INTERRUPTED
    except NotStartedError as error:
        advice = "correct the command; it is a program with its arguments, and a shell line needs sh -c '…'"
        return _nothing_checked(f"{error}.", advice)
    if options.json:
        print(as_json(findings, options.agent))  # noqa: T201 - the user asked for it
    else:
        show(Console(highlight=False, width=min(Console().width, WIDTH)), findings, time.monotonic() - began)
    return 0 if findings.conforms() else 1


def _tell_finished(scenario: str) -> None:
    sys.stderr.write(f"Finished: {SCENARIOS[scenario][0]}\n")


def _nothing_checked(why: str, advice: str) -> int:
    sys.stderr.write(f"{why}\nNext: {advice}\n")
    return NOTHING_CHECKED


async def _until_signal(running: Coroutine[Any, Any, None]) -> None:
    """Run; SIGTERM ends the run and its agents, as Ctrl-C does."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await task


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance",
        description="Check an agent against docs/protocol.md.",
        epilog="The agent gets DISPATCHER_URL, AGENT_ID, AGENT_API_KEY and AGENT_STATE in its environment; in its command "
        "{url}, {id}, {key} and {dir}, a folder for its own use, are replaced. Exit code 0: it passes every MUST; "
        "1: it fails one; "
        "2: nothing was checked.",
    )
    agent = os.environ.get("AGENT", "")
    add = parser.add_argument
    add("--agent", default=agent, metavar="COMMAND", help="what starts the agent (default: the variable AGENT)")
    add("--protocol", choices=("1", "2", "auto"), default="auto", help="what it must request (default: either)")
    text = "an action that it knows; repeat it for actions in sequence (default: start_session, stop_session)"
    add("--action", action="append", default=[], metavar="NAME", help=text)
    text = "the payload of the action at the same position; {n} in it becomes a number"
    add("--payload", action="append", default=[], metavar="JSON", help=text)
    text = f"a check or a scenario, repeat it for more; the scenarios are {', '.join(SCENARIOS)}"
    add("--only", action="append", default=[], choices=[*SCENARIOS, *BY_NAME], metavar="NAME", help=text)
    add("--slow", action="store_true", help="also run checks that take up to 65 s: heartbeats, approval")
    add("--one-by-one", action="store_true", help="run one agent process at a time")
    add("--patience", type=float, default=15.0, help="seconds from its start to its registration (%(default)s)")
    add("--json", action="store_true", help="print one JSON document instead of tables")
    return parser


def _actions(parser: argparse.ArgumentParser, names: list[str], payloads: list[str]) -> tuple[tuple[str, Any], ...]:
    if len(payloads) > len(names):
        parser.error("each --payload needs an --action")
    try:
        values = [json.loads(payload) for payload in payloads]
    except ValueError as error:
        parser.error(f"--payload is not JSON: {error}")
    values += [{}] * (len(names) - len(values))
    if not all(isinstance(value, dict) for value in values):
        parser.error("--payload must be a JSON object")
    return tuple(zip(names, values, strict=True))


if __name__ == "__main__":
    sys.exit(main())
