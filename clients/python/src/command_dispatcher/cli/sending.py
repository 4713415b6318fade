"""`dispatcher send`: to one agent, to many, to all that a selector means, or what a file lists."""

import contextlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.completing import agent_names
from command_dispatcher.cli.connection import connected, near_names
from command_dispatcher.cli.options import ContextOption, DryRun, Format, Output, Selector, Yes
from command_dispatcher.cli.output import emit, show_items, show_one
from command_dispatcher.cli.payloads import commands_of, options_of, payload_of
from command_dispatcher.cli.stopping import Exit, Stop, say, usage
from command_dispatcher.cli.values import json_text, seconds_from

if TYPE_CHECKING:
    from command_dispatcher.client import Client
    from command_dispatcher.client.models import CommandInfo

AT_ONCE = 1000
"""Commands that the API takes in one list."""
NAMED = 10
"""Agents that a dry run names on stderr before it counts the rest."""


def send(
    words: Annotated[list[str] | None, typer.Argument(metavar="[AGENT]... ACTION", autocompletion=agent_names)] = None,
    payload: Annotated[str | None, typer.Option("--payload", "-p", help="JSON, @file, or @- for stdin.")] = None,
    selector: Selector = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Commands as NDJSON or as a JSON list; - for stdin.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end; the exit code says how.")] = False,
    give_up: Annotated[
        str | None, typer.Option("--give-up", help="With --wait: no longer than this: 30s, 10m.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="Repeat a submission without a second effect.")
    ] = None,
    ttl: Annotated[str | None, typer.Option("--ttl", help="It expires if it waits so long: 90s, 2h, 7d.")] = None,
    execution_timeout: Annotated[
        str | None, typer.Option("--execution-timeout", help="It times out so long after the agent's ack.")
    ] = None,
    not_before: Annotated[str | None, typer.Option("--not-before", help="In 2h, or at a moment of RFC 3339.")] = None,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", min=1, help="How often it is sent at most.")
    ] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=-100, max=100, help="Higher goes first.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="The session that it is about.")] = None,
    redeliver_after_ack: Annotated[
        bool, typer.Option("--redeliver-after-ack", help="Send it again too if its agent lost it after the ack.")
    ] = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Send a command to agents; an offline agent gets it when it is back.

    dispatcher send edge-1 restart --payload '{"now": true}' --wait

    dispatcher send --selector env=prod restart --dry-run
    """
    from command_dispatcher.client.core import new_key

    options = options_of(
        ttl=ttl,
        execution_timeout=execution_timeout,
        not_before=not_before,
        max_attempts=max_attempts,
        priority=priority,
        session=session,
        redeliver_after_ack=redeliver_after_ack,
    )
    seconds = _seconds(give_up, wait=wait)
    agents, action = _words(words or [], selector, file)
    if payload is not None:
        options["payload"] = payload_of(payload)
    key = idempotency_key or new_key()
    with connected(context) as client:
        if file is not None:
            commands = [options | command for command in commands_of(file)]
        else:
            targets = agents if selector is None else _matching(client, selector)
            commands = [{"agentId": agent, "action": action, **options} for agent in targets]
        if not commands:
            raise Stop(Exit.NOT_FOUND, "There is nothing to send: no approved agent matches.", "dispatcher agents list")
        if dry_run:
            show_items(commands, columns.TO_SEND, output, whole={"commands": commands})
            say(f"{len(commands)} command{'s' if len(commands) > 1 else ''} would be sent; nothing was done.")
            return
        if len(commands) > 1:
            confirm(f"Send {len(commands)} commands ({_some(commands)})?", yes=yes)
        with _repeatable(key), near_names(client, *(str(command["agentId"]) for command in commands[:NAMED])):
            if len(commands) == 1:
                _send_one(client, commands[0], key, output, seconds, wait=wait)
            else:
                _send_many(client, commands, key, output, seconds, wait=wait)


def _send_one(
    client: "Client", command: dict[str, Any], key: str, output: Format, seconds: float | None, *, wait: bool
) -> None:
    from command_dispatcher.cli.waiting import outcome, watch_one
    from command_dispatcher.client.core import request
    from command_dispatcher.client.models import CommandInfo

    agent = str(command["agentId"])
    body = {name: value for name, value in command.items() if name != "agentId"}
    sent = request("POST", "/api/v1/agents/{}/commands", agent, body=body, idempotency_key=key)
    accepted = CommandInfo.of(client.call(sent))
    if not wait:
        show_one(accepted.raw, columns.COMMAND, output)
        return
    say(f"command: {accepted.command_id}")
    ended = watch_one(client, accepted.command_id, seconds)
    show_one(ended.raw, columns.COMMAND, output)
    raise typer.Exit(outcome([ended.status]))


def _send_many(
    client: "Client",
    commands: Sequence[dict[str, Any]],
    key: str,
    output: Format,
    seconds: float | None,
    *,
    wait: bool,
) -> None:
    from command_dispatcher.cli.waiting import outcome, watch_many
    from command_dispatcher.client import DispatcherError
    from command_dispatcher.client.core import request

    accepted: list[Any] = []
    for start in range(0, len(commands), AT_ONCE):
        # Each list of 1,000 is accepted as a whole, under a key of its own that follows from the one printed.
        own = key if start == 0 else f"{key}/{start}"
        sent = request("POST", "/api/v1/commands", body=commands[start : start + AT_ONCE], idempotency_key=own)
        try:
            accepted += client.call(sent)["commands"]
        except DispatcherError:
            if accepted:
                show_items(accepted, columns.ACCEPTED, output, whole={"commands": accepted})
                say(f"{len(accepted)} of {len(commands)} commands were accepted before an error.")
                say(f"next: repeat it with --idempotency-key {key}; these are not sent again")
            raise
    if not wait:
        show_items(accepted, columns.ACCEPTED, output, whole={"commands": accepted})
        return
    ended: list[Any] = []

    def finished(command: "CommandInfo") -> None:
        ended.append(command.raw)
        if output is not Format.JSON:
            _show_ended(command, output)

    statuses = watch_many(client, [str(command["commandId"]) for command in accepted], seconds, finished)
    if output is Format.JSON:
        emit(json_text({"commands": ended}))
    raise typer.Exit(outcome(statuses))


def _show_ended(command: "CommandInfo", output: Format) -> None:
    if output is Format.TABLE:
        emit("\t".join(column.text(command.raw) for column in columns.ACCEPTED))
    else:
        show_items([command.raw], columns.ACCEPTED, output, whole=command.raw)


def _words(words: list[str], selector: str | None, file: str | None) -> tuple[list[str], str]:
    if file is not None:
        if words or selector is not None:
            raise usage("--file names agents and actions itself.", "dispatcher send --file commands.ndjson")
        return [], ""
    if selector is not None:
        if len(words) != 1:
            raise usage("With --selector, name only the action.", "dispatcher send --selector env=prod restart")
        return [], words[0]
    if len(words) < 2:  # noqa: PLR2004 - an agent and an action
        raise usage("Name an agent and an action.", "dispatcher send edge-1 restart")
    return list(dict.fromkeys(words[:-1])), words[-1]


def _matching(client: "Client", selector: str) -> list[str]:
    found = client.agents.list(selector=selector, approval="approved", limit=200)
    return [agent.agent_id for agent in found]


@contextlib.contextmanager
def _repeatable(key: str) -> Generator[None]:
    """Print the key before anything is sent, and how to repeat when no answer came."""
    from command_dispatcher.client import Unreachable

    say(f"idempotency key: {key}")
    try:
        yield
    except Unreachable as error:
        raise Stop(
            Exit.FAILED,
            f"No answer came, so it is not known whether it was accepted: {error}",
            f"repeat it with --idempotency-key {key}: it has one effect",
        ) from None


def _some(commands: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(str(command["agentId"]) for command in commands))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _seconds(text: str | None, *, wait: bool) -> float | None:
    if text is None:
        return None
    if not wait:
        raise usage("--give-up is for --wait.")
    try:
        return seconds_from(text)
    except ValueError as error:
        raise usage(str(error)) from None
