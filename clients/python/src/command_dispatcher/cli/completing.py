"""What the shells complete from the service."""

MOST = 100
SECONDS = 2.0


def agent_names(incomplete: str) -> list[str]:
    """Return the ids of agents that begin so; nothing if the service does not answer."""
    from command_dispatcher.cli.contexts import target
    from command_dispatcher.client import Client, Retries

    try:
        goal = target(None)
        with Client(goal.url, goal.token, timeout=SECONDS, retries=Retries(attempts=1)) as client:
            page = next(iter(client.agents.list(search=incomplete or None, limit=MOST).pages()))
    except Exception:  # noqa: BLE001 - a completion never disturbs who is typing
        return []
    return [str(agent["agentId"]) for agent in page["agents"] if str(agent["agentId"]).startswith(incomplete)]
