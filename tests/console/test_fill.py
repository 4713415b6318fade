"""The data to look at, as docs/console.md offers it."""

import subprocess
import sys

from local.http_client import Client
from tests.e2e.dispatcher_process import PASSWORD, ROOT, until


def test_the_data_to_look_at_has_every_kind_of_command(client: Client) -> None:
    """Some commands wait, some are under way, and some have ended, well or not."""

    def found() -> set[str]:
        return {command["status"] for command in client.get("/api/v1/commands?submittedBy=admin&limit=200")["commands"]}

    filling = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.console.fill", "--url", client.url, "--password", PASSWORD),
            *("--agents", "4", "--commands", "12", "--seconds", "60"),
        ],
        cwd=ROOT,
    )
    try:
        until(lambda: {"pending", "sent", "acknowledged", "completed", "expired"} <= found())
    finally:
        filling.terminate()
        filling.wait()
