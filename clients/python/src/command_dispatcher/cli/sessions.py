"""The commands about StreamSpace's sessions and templates."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.completing import session_names
from command_dispatcher.cli.connection import connected
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Limit, Output, Yes
from command_dispatcher.cli.output import emit, show_list, show_one
from command_dispatcher.cli.payloads import text_of
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import json_text
from command_dispatcher.digits import loads

if TYPE_CHECKING:
    from command_dispatcher.client.models import CommandInfo, SessionInfo

SessionName = Annotated[str, typer.Argument(metavar="SESSION", autocompletion=session_names)]
app = typer.Typer(help="StreamSpace's sessions: start, stop, hibernate, wake.", no_args_is_help=True)
templates = typer.Typer(help="The templates that sessions are started from.", no_args_is_help=True)

Key = Annotated[str | None, typer.Option("--idempotency-key", help="Repeat a request without a second effect.")]


@app.command("list")
def list_sessions(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List sessions, in the order of their names."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.sessions.list(limit=size, cursor=cursor),
            columns.SESSIONS,
            output,
            limit,
            "dispatcher sessions start TEMPLATE --user USER",
        )


@app.command("show")
def show(session: SessionName, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show a session."""
    with connected(context) as client:
        show_one(client.sessions.get(session).raw, columns.SESSION, output)


@app.command("start")
def start(
    template: Annotated[str, typer.Argument(help="The name of a stored template.")],
    user: Annotated[str, typer.Option(help="Whose session it is.")],
    agent: Annotated[str | None, typer.Option(help="Default: an agent that is online.")] = None,
    memory: Annotated[str | None, typer.Option(help="For example 1Gi.")] = None,
    cpu: Annotated[str | None, typer.Option(help="For example 500m.")] = None,
    persistent_home: Annotated[
        bool, typer.Option("--persistent-home", help="Keep the home for the next session.")
    ] = False,
    idempotency_key: Key = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Start a session."""
    from command_dispatcher.client import UNSET
    from command_dispatcher.client.models import Resources

    resources = Resources(memory=memory or UNSET, cpu=cpu or UNSET) if memory or cpu else UNSET
    with connected(context) as client:
        started = client.sessions.start(
            user=user,
            template=template,
            agent_id=agent or UNSET,
            resources=resources,
            persistent_home=persistent_home,
            idempotency_key=idempotency_key,
        )
        show_one(started.raw, columns.SESSION, output)


@app.command("stop")
def stop(
    session: SessionName, idempotency_key: Key = None, output: Output = Format.TABLE, context: ContextOption = None
) -> None:
    """Stop a session."""
    with connected(context) as client:
        _show(client.sessions.stop(session, idempotency_key=idempotency_key), output)


@app.command("hibernate")
def hibernate(
    session: SessionName, idempotency_key: Key = None, output: Output = Format.TABLE, context: ContextOption = None
) -> None:
    """Hibernate a session: it keeps its home, and frees its resources."""
    with connected(context) as client:
        _show(client.sessions.hibernate(session, idempotency_key=idempotency_key), output)


@app.command("wake")
def wake(
    session: SessionName, idempotency_key: Key = None, output: Output = Format.TABLE, context: ContextOption = None
) -> None:
    """Wake a session that hibernates."""
    with connected(context) as client:
        _show(client.sessions.wake(session, idempotency_key=idempotency_key), output)


@templates.command("list")
def list_templates(limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """List templates, in the order of their names."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.templates.list(limit=size, cursor=cursor), columns.TEMPLATES, output, limit
        )


@templates.command("show")
def show_template(template: str, context: ContextOption = None) -> None:
    """Show a template, as JSON."""
    with connected(context) as client:
        emit(json_text(client.templates.get(template)))


@templates.command("put")
def put_template(
    template: str,
    file: Annotated[str, typer.Option("--file", "-f", help="The manifest as JSON; - for stdin.")],
    context: ContextOption = None,
) -> None:
    """Store a template; sessions that are started later get it."""
    try:
        manifest: Any = loads(text_of(file))
    except ValueError as error:
        raise usage(f"{file} is not JSON: {error}") from None
    with connected(context) as client:
        emit(json_text(client.templates.put(template, document=manifest)))


@templates.command("delete")
def delete_template(template: str, yes: Yes = False, context: ContextOption = None) -> None:
    """Delete a template; sessions keep what they were started with."""
    with connected(context) as client:
        confirm(f"Delete the template {template}?", yes=yes)
        client.templates.delete(template)
        say(f"The template {template} is deleted.")


def _show(found: "CommandInfo | SessionInfo", output: Format) -> None:
    show_one(found.raw, columns.COMMAND if "commandId" in found.raw else columns.SESSION, output)
