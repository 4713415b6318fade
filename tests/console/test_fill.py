"""The data to look at, as docs/console.md offers it."""

import asyncio

from local.http_client import Client
from tests.console.fill import fill


def test_the_data_to_look_at_has_every_kind_of_command(client: Client) -> None:
    """Some commands wait, some are under way, and some have ended, well or not."""
    asyncio.run(fill(client, agents=4, commands=12, pause=0, seconds=4))

    found = {command["status"] for command in client.get("/api/v1/commands?submittedBy=admin&limit=200")["commands"]}
    assert {"pending", "sent", "acknowledged", "completed", "expired"} <= found
