"""The commands about commands."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.completing import agent_names, command_ids
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, DryRun, Format, Limit, Output, Selector, Yes
from command_dispatcher.cli.output import emit, show_list, show_one, show_text
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import json_text, moment_from, seconds_from

if TYPE_CHECKING:
    from command_dispatcher.client import Client

app = typer.Typer(help="Look at commands, and cancel or redrive them.", no_args_is_help=True)

CommandId = Annotated[str, typer.Argument(metavar="COMMAND", autocompletion=command_ids)]
CommandIds = Annotated[list[str] | None, typer.Argument(metavar="[COMMAND]...", autocompletion=command_ids)]
Agent = Annotated[str | None, typer.Option("--agent", help="Only commands for this agent.", autocompletion=agent_names)]
Session = Annotated[str | None, typer.Option("--session", help="Only commands of this session.")]
Statuses = Annotated[list[str] | None, typer.Option("--status", help="One or more: dead,failed; may be repeated.")]
Action = Annotated[str | None, typer.Option("--action", help="Only commands with this action.")]
SubmittedBy = Annotated[str | None, typer.Option("--submitted-by", help="The operator who submitted them.")]
Since = Annotated[str | None, typer.Option("--since", help="Accepted since: 2h, or a moment of RFC 3339.")]
Until = Annotated[str | None, typer.Option("--until", help="Accepted before: 10m, or a moment of RFC 3339.")]
Reason = Annotated[str | None, typer.Option("--reason", help="For the audit log.")]


@app.command("list")
def list_commands(
    agent: Agent = None,
    session: Session = None,
    status: Statuses = None,
    action: Action = None,
    submitted_by: SubmittedBy = None,
    since: Since = None,
    until: Until = None,
    selector: Selector = None,
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="With -o json: payload,result,progress too."),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """List commands, newest first."""
    first, last = _moment(since), _moment(until)
    given = agent or session or status or action or submitted_by or first or last or selector
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.commands.list(
                agent_id=agent,
                session_id=session,
                status=_parts(status),
                action=action,
                submitted_by=submitted_by,
                since=first,
                until=last,
                selector=selector,
                include=_parts(include),
                limit=size,
                cursor=cursor,
            ),
            columns.COMMANDS,
            output,
            limit,
            None if given else "dispatcher send AGENT ACTION",
        )


@app.command("show")
def show(command: CommandId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show a command, its payload and its result."""
    with connected(context) as client:
        show_one(client.commands.get(command).raw, columns.COMMAND, output)


@app.command("why")
def why(command: CommandId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Say why a command is where it is, and what would change that."""
    with connected(context) as client:
        found = client.commands.why(command)
        show_text(found.sentence + (f"\nTo change that: {found.unblock}" if found.unblock else ""), found.raw, output)


@app.command("history")
def history(command: CommandId, limit: Limit = 0, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show each transition of a command, with its cause."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.commands.history(command, limit=size, cursor=cursor),
            columns.HISTORY,
            output,
            limit,
        )


@app.command("watch")
def watch(
    command: CommandId,
    give_up: Annotated[str | None, typer.Option("--give-up", help="Stop watching after this time: 30s, 10m.")] = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Watch a command until it ends; the exit code says how."""
    from command_dispatcher.cli.waiting import outcome, watch_one

    with connected(context) as client:
        ended = watch_one(client, command, _seconds(give_up))
        show_one(ended.raw, columns.COMMAND, output)
        raise typer.Exit(outcome([ended.status]))


@app.command("cancel")
def cancel(
    command: CommandIds = None,
    agent: Agent = None,
    session: Session = None,
    status: Statuses = None,
    action: Action = None,
    submitted_by: SubmittedBy = None,
    since: Since = None,
    until: Until = None,
    selector: Selector = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Cancel commands by their ids, or all that match: dispatcher commands cancel --agent edge-1 --action restart."""
    which = _filter(agent, session, status, action, submitted_by, since, until, selector)
    with connected(context) as client:
        if _by_id(command, which, dry_run=dry_run, verb="cancel"):
            for each in command or ():
                cancelled = client.commands.cancel(each)
                show_one(cancelled.raw, columns.ACCEPTED, output)
                if cancelled.status != "cancelled":
                    say(
                        "It is under way: an agent of protocol 2 is asked to stop it, and reports the end.\n"
                        f"next: dispatcher commands watch {each}"
                    )
        else:
            _all_matching(client, "cancel", which, reason, output, dry_run=dry_run, yes=yes)


@app.command("redrive")
def redrive(
    command: CommandIds = None,
    agent: Agent = None,
    session: Session = None,
    status: Statuses = None,
    action: Action = None,
    submitted_by: SubmittedBy = None,
    since: Since = None,
    until: Until = None,
    selector: Selector = None,
    reason: Reason = None,
    ttl: Annotated[str | None, typer.Option("--ttl", help="The new command expires if it waits so long: 2h.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="With an id: repeat it without a second effect.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Submit commands again that ended without success: by their ids, or all that match."""
    from command_dispatcher.client import UNSET

    which = _filter(agent, session, status, action, submitted_by, since, until, selector)
    seconds = _seconds(ttl)
    with connected(context) as client:
        if _by_id(command, which, dry_run=dry_run, verb="redrive"):
            for each in command or ():
                new = client.commands.redrive(
                    each, idempotency_key=idempotency_key, ttl_seconds=UNSET if seconds is None else seconds
                )
                show_one(new.raw, columns.COMMAND, output)
        else:
            _all_matching(client, "redrive", which, reason, output, dry_run=dry_run, yes=yes)


def _by_id(ids: list[str] | None, which: dict[str, Any], *, dry_run: bool, verb: str) -> bool:
    if bool(ids) == bool(which):
        raise usage(
            f"Name the commands to {verb} by their ids or by a filter{', not both' if ids else ''}.",
            f"dispatcher commands {verb} --agent edge-1 --status {'pending' if verb == 'cancel' else 'failed'} --dry-run",
        )
    if ids and dry_run:
        raise usage("--dry-run is for a filter.")
    return bool(ids)


def _all_matching(
    client: "Client",
    verb: Literal["cancel", "redrive"],
    which: dict[str, Any],
    reason: str | None,
    output: Format,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    from command_dispatcher.client import UNSET
    from command_dispatcher.client.models import CommandFilter

    change = client.commands.cancel_matching if verb == "cancel" else client.commands.redrive_matching
    wanted: CommandFilter = CommandFilter(**which)
    counted = change(filter=wanted, dry_run=True)
    if dry_run:
        _show_bulk(counted.raw, f"{counted.matched} commands match.", output)
        return
    if counted.matched == 0:
        _show_bulk(counted.raw, "No command matches.", output)
        return
    confirm(f"{verb.capitalize()} {counted.matched} commands?", yes=yes)
    # The count that was confirmed: if other commands match by now, nothing is done.
    done = change(filter=wanted, expected_count=counted.matched, reason=reason or UNSET)
    _show_bulk(done.raw, f"{done.changed} of {done.matched} commands: {verb} accepted.", output)


def _show_bulk(raw: Any, sentence: str, output: Format) -> None:
    if output is Format.TABLE:
        say(sentence)
    else:
        emit(json_text(raw))


def _filter(
    agent: str | None,
    session: str | None,
    status: list[str] | None,
    action: str | None,
    submitted_by: str | None,
    since: str | None,
    until: str | None,
    selector: str | None,
) -> dict[str, Any]:
    given = {
        "agent_id": agent,
        "session_id": session,
        "status": _parts(status),
        "action": action,
        "submitted_by": submitted_by,
        "since": _moment(since),
        "until": _moment(until),
        "selector": selector,
    }
    return {name: value for name, value in given.items() if value is not None}


def _parts(texts: list[str] | None) -> list[Any] | None:
    """Split values that are joined by commas; the service names those that it does not know."""
    return [part for text in texts for part in text.split(",") if part] if texts else None


def _moment(text: str | None) -> Any:
    try:
        return None if text is None else moment_from(text, past=True)
    except ValueError as error:
        raise usage(str(error)) from None


def _seconds(text: str | None) -> int | None:
    try:
        return None if text is None else seconds_from(text)
    except ValueError as error:
        raise usage(str(error)) from None
