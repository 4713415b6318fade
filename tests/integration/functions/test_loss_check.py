"""The loss check on request."""

import pytest

from dispatcher.platform.database import Connection
from tests.integration.functions.events import COMMANDS, Run, ask


@pytest.mark.usefixtures("agent")
def test_an_admin_runs_the_loss_check_and_a_lost_command_is_named(run: Run, conn: Connection) -> None:
    """As the scheduled check would: clean before somebody deletes the row, and then not."""
    command_id = ask(run, "commands", "POST", COMMANDS, {"action": "noop"})[1]["commandId"]
    before = ask(run, "operators", "GET", "/api/v1/loss-check")[1]
    conn.execute("delete from agent_commands")

    after = ask(run, "operators", "GET", "/api/v1/loss-check")[1]

    broken = {finding["check"]: finding["some"] for finding in after["findings"] if finding["offenders"]}
    assert (before["clean"], after["clean"], broken) == (True, False, {"lost_commands": [command_id]})
    assert before["figures"]["pending_commands"] == 1


@pytest.mark.usefixtures("agent")
def test_the_scheduled_check_publishes_what_is_new(run: Run, conn: Connection) -> None:
    """And a check on request does not take it away."""
    ask(run, "commands", "POST", COMMANDS, {"action": "noop"})
    conn.execute("delete from agent_commands")
    ask(run, "operators", "GET", "/api/v1/loss-check")

    assert run("audit")["newly_lost_commands"] == 1
