"""The commands about agents."""

from typing import Annotated, Literal

import typer

from command_dispatcher.cli import columns
from command_dispatcher.cli.asking import confirm
from command_dispatcher.cli.completing import agent_names
from command_dispatcher.cli.connection import connected, near_names
from command_dispatcher.cli.events_commands import After, Follow, Most, Types, events
from command_dispatcher.cli.groups import Group
from command_dispatcher.cli.options import DEFAULT_LIMIT, ContextOption, Format, Label, Limit, Output, Selector, Yes
from command_dispatcher.cli.output import show_list, show_one, show_text
from command_dispatcher.cli.stopping import say, usage
from command_dispatcher.cli.values import label_changes, labels_from

app = typer.Typer(help="Find, create, label, approve and delete agents.", no_args_is_help=True)
keys = typer.Typer(help="The keys of an agent.", no_args_is_help=True)
app.add_typer(keys, name="keys", cls=Group)

FIRST = "dispatcher agents create edge-1 --platform linux"

AgentId = Annotated[str, typer.Argument(metavar="AGENT", autocompletion=agent_names)]


@app.command("list")
def list_agents(
    selector: Selector = None,
    presence: Annotated[Literal["online", "degraded", "offline"] | None, typer.Option(help="By connection.")] = None,
    approval: Annotated[Literal["pending", "approved", "rejected"] | None, typer.Option(help="By approval.")] = None,
    platform: Annotated[str | None, typer.Option(help="By platform.")] = None,
    search: Annotated[str | None, typer.Option(help="A part of the id.")] = None,
    backlog: Annotated[bool, typer.Option("--backlog", help="Only agents for which commands wait.")] = False,
    limit: Limit = DEFAULT_LIMIT,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """List agents, in the order of their ids."""
    with connected(context) as client:
        show_list(
            lambda size, cursor: client.agents.list(
                selector=selector,
                presence=presence,
                approval=approval,
                platform=platform,
                search=search,
                backlog=backlog or None,
                limit=size,
                cursor=cursor,
            ),
            columns.AGENTS,
            output,
            limit,
            None if selector or presence or approval or platform or search or backlog else FIRST,
        )


@app.command("show")
def show(agent: AgentId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Show everything that is known about an agent."""
    with connected(context) as client, near_names(client, agent):
        show_one(client.agents.get(agent).raw, columns.AGENT, output)


@app.command("create")
def create(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="The id of the new agent.")],
    platform: Annotated[str, typer.Option(help="What it runs on, such as linux or kubernetes.")],
    region: Annotated[str | None, typer.Option(help="Where it is.")] = None,
    label: Label = None,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Create an agent and show its key, once."""
    from command_dispatcher.client import UNSET

    with connected(context) as client:
        created = client.agents.create(
            agent_id=agent, platform=platform, region=region or UNSET, labels=_labels(label) if label else UNSET
        )
        show_one(created.raw, columns.AGENT, output)
        say("Save the API key: it is shown only now.")


@app.command("label")
def label(
    agent: AgentId,
    changes: Annotated[list[str], typer.Argument(metavar="NAME=VALUE|NAME-...", help="NAME- removes a label.")],
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Set and remove labels: dispatcher agents label edge-1 zone=eu-1 old-."""
    try:
        wanted = label_changes(changes)
    except ValueError as error:
        raise usage(str(error)) from None
    with connected(context) as client, near_names(client, agent):
        show_one(client.agents.change(agent, labels=wanted).raw, columns.AGENT, output)


@app.command("approve")
def approve(agent: AgentId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Approve an agent: it may connect, and gets commands."""
    with connected(context) as client, near_names(client, agent):
        show_one(client.agents.approve(agent).raw, columns.AGENT, output)


@app.command("reject")
def reject(agent: AgentId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Reject an agent: its connections are closed."""
    with connected(context) as client, near_names(client, agent):
        show_one(client.agents.reject(agent).raw, columns.AGENT, output)


@app.command("delete")
def delete(agent: AgentId, yes: Yes = False, context: ContextOption = None) -> None:
    """Delete an agent: its commands are cancelled and its keys revoked."""
    with connected(context) as client, near_names(client, agent):
        confirm(f"Delete the agent {agent}, cancel its commands and revoke its keys?", yes=yes)
        client.agents.delete(agent)
        say(f"The agent {agent} is deleted.")


@app.command("why")
def why(agent: AgentId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Say why an agent has nothing delivered, and what would change that."""
    with connected(context) as client, near_names(client, agent):
        found = client.agents.why(agent)
        show_text(found.sentence + (f"\nTo change that: {found.unblock}" if found.unblock else ""), found.raw, output)


@app.command("events")
def agent_events(
    agent: AgentId,
    follow: Follow = False,
    after: After = None,
    types: Types = None,
    limit: Most = DEFAULT_LIMIT,
    output: Output = Format.TABLE,
    context: ContextOption = None,
) -> None:
    """Show what happened to an agent and its commands, in order."""
    events(follow, after, types, agent, None, limit, output, context)


@keys.command("list")
def list_keys(
    agent: AgentId, limit: Limit = DEFAULT_LIMIT, output: Output = Format.TABLE, context: ContextOption = None
) -> None:
    """List the valid keys of an agent, without the keys themselves."""
    with connected(context) as client, near_names(client, agent):
        show_list(
            lambda size, cursor: client.agents.keys(agent, limit=size, cursor=cursor), columns.KEYS, output, limit
        )


@keys.command("create")
def create_key(agent: AgentId, output: Output = Format.TABLE, context: ContextOption = None) -> None:
    """Give an agent one more key, for a rotation, and show it once."""
    with connected(context) as client, near_names(client, agent):
        show_one(client.agents.issue_key(agent).raw, columns.NEW_KEY, output)
        say("Save the API key: it is shown only now.")


@keys.command("revoke")
def revoke_key(agent: AgentId, key: str, yes: Yes = False, context: ContextOption = None) -> None:
    """Revoke a key and close the connections that it opened."""
    with connected(context) as client, near_names(client, agent):
        confirm(f"Revoke the key {key} of {agent}?", yes=yes)
        client.agents.revoke_key(agent, key)
        say(f"The key {key} is revoked.")


def _labels(pairs: list[str]) -> dict[str, str]:
    try:
        return labels_from(pairs)
    except ValueError as error:
        raise usage(str(error)) from None
