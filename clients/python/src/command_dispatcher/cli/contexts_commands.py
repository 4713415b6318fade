"""Log in and out, and choose between services."""

import os
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from command_dispatcher.cli.asking import ask, secret
from command_dispatcher.cli.completing import context_names
from command_dispatcher.cli.contexts import Context, Contexts
from command_dispatcher.cli.options import Format, Output
from command_dispatcher.cli.output import show_items
from command_dispatcher.cli.stopping import Exit, Stop, say, usage
from command_dispatcher.cli.tables import Column

app = typer.Typer(help="Choose between services: one context for each.", no_args_is_help=True)

ContextName = Annotated[str, typer.Argument(metavar="CONTEXT", autocompletion=context_names)]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def login(
    url: Annotated[str | None, typer.Option("--url", help="The URL of the service; default: DISPATCHER_URL.")] = None,
    username: Annotated[str | None, typer.Option("--username", "-u", help="Your name there.")] = None,
    context: Annotated[
        str | None, typer.Option("--context", help="A name for this service; default: its host.")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="Read an API token from stdin instead.")] = False,
) -> None:
    """Log in to a service and keep the token in a file that only you can read.

    dispatcher login --url https://dispatcher.example.com --username ada
    """
    from command_dispatcher.cli.errors import explained
    from command_dispatcher.client import Client, DispatcherError
    from command_dispatcher.client.core import base_url

    try:
        address = base_url(url or os.environ.get("DISPATCHER_URL") or ask("URL of the service", "--url"))
    except ValueError as error:
        raise usage(str(error)) from None
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        say("warning: over http the password and the token can be read on the way; use https")
    name = context or parts.netloc
    try:
        if token_stdin:
            token, known_as = secret("API token", from_stdin=True, option="--token-stdin"), username
            with Client(address, token) as client:
                next(iter(client.agents.list(limit=1).pages()))
        else:
            known_as = username or ask("Username", "--username")
            password = secret("Password", from_stdin=password_stdin, option="--password-stdin")
            with Client(address, "") as client:
                token = client.log_in(username=known_as, password=password).token
    except DispatcherError as error:
        stop = explained(error, address, None)
        raise Stop(stop.code, str(stop), *(hint for hint in stop.hints if "login" not in hint)) from None
    Contexts().save(Context(name=name, url=address, username=known_as), token)
    say(f"Logged in at {address}; this is now the context {name}.")
    if os.environ.get("DISPATCHER_URL", address).rstrip("/") != address:
        say("warning: DISPATCHER_URL names another service and goes before the context; unset it")


def logout(
    context: Annotated[
        str | None, typer.Option("--context", help="Default: the current context.", autocompletion=context_names)
    ] = None,
) -> None:
    """End the log-in of a context at the service, and delete its token here."""
    contexts = Contexts()
    name = context or contexts.current
    if name is None:
        raise Stop(Exit.NOT_FOUND, "There is no context.")
    known, token = contexts.get(name), contexts.token(name)
    contexts.forget_token(name)
    say(f"The token of {name} is deleted.")
    if token is not None:
        _end_log_in(known.url, token)


def _end_log_in(url: str, token: str) -> None:
    from command_dispatcher.client import Client, DispatcherError, NotAllowed, NotAuthenticated, Retries
    from command_dispatcher.client.core import request

    try:
        with Client(url, token, retries=Retries(attempts=1)) as client:
            client.call(request("DELETE", "/api/v1/auth/session"))
    except NotAuthenticated:
        return  # it has ended already
    except NotAllowed as error:
        say(f"The token itself is still valid: {error}")
    except DispatcherError as error:
        raise Stop(
            Exit.FAILED, f"The service did not end the log-in, which ends by itself within an hour: {error}"
        ) from None


@app.command("list")
def list_contexts(output: Output = Format.TABLE) -> None:
    """List the contexts; the current one has a star."""
    contexts = Contexts()
    items = [
        {
            "name": known.name,
            "url": known.url,
            "username": known.username,
            "current": known.name == contexts.current,
            "loggedIn": contexts.token(known.name) is not None,
        }
        for known in contexts.all()
    ]
    columns = (
        Column("", lambda item: "*" if item["current"] else ""),
        Column("CONTEXT", lambda item: str(item["name"]), is_id=True),
        Column("URL", lambda item: str(item["url"])),
        Column("USERNAME", lambda item: str(item["username"] or "")),
        Column("LOGGED IN", lambda item: "yes" if item["loggedIn"] else "no"),
    )
    show_items(items, columns, output, whole={"contexts": items})
    if os.environ.get("DISPATCHER_URL"):
        say(f"DISPATCHER_URL goes before the contexts: {os.environ['DISPATCHER_URL']}")
    elif not items:
        say("There are none.  next: dispatcher login --url https://dispatcher.example.com")


@app.command("use")
def use(name: ContextName) -> None:
    """Use a context from now on."""
    Contexts().use(name)
    say(f"The context is now {name}.")


@app.command("delete")
def delete(name: ContextName) -> None:
    """Delete a context and its token."""
    Contexts().delete(name)
    say(f"The context {name} is deleted.")


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print the script that completes commands in a shell.

    bash: dispatcher completion bash > ~/.local/share/bash-completion/completions/dispatcher
    """
    from command_dispatcher.cli.app import COMPLETING, build

    # The shells' own way in, which Typer answers.
    os.environ[COMPLETING] = f"source_{shell}"
    try:
        build()(args=[], prog_name="dispatcher")
    finally:
        del os.environ[COMPLETING]
