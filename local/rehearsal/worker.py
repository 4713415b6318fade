"""The agent of a rehearsal: it writes down each command that it executes.

    python -m local.rehearsal.worker FOLDER

DISPATCHER_URL, AGENT_ID and AGENT_API_KEY are the agent's own settings.
"""

import sys
from pathlib import Path

from command_dispatcher import Agent
from command_dispatcher.agent import Command

FOLDER = Path(sys.argv[1])
agent = Agent(state=FOLDER / "agent.db", longest_pause=2.0)


@agent.on("work")
async def work(command: Command) -> str:
    """Do something that must not be done twice."""
    with (FOLDER / "executed").open("a") as file:
        file.write(f"{command.id}\n")
    return "done"


if __name__ == "__main__":
    agent.run()
