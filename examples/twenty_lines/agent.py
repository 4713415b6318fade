"""An agent in twenty lines.  Its settings come from the environment: DISPATCHER_URL, AGENT_ID, AGENT_API_KEY, AGENT_STATE."""

import asyncio
import shutil

from command_dispatcher import Agent
from command_dispatcher.agent import Command

agent = Agent()


@agent.on("disk", idempotent=True)
def disk(path: str = "/") -> dict[str, float]:
    """Say how full a file system is."""
    usage = shutil.disk_usage(path)
    return {"usedPercent": round(100 * usage.used / usage.total, 1)}


@agent.on("countdown")
async def countdown(command: Command, seconds: int) -> str:
    """Count down, and say where it is."""
    for left in range(seconds, 0, -1):
        await command.progress({"secondsLeft": left})
        await asyncio.sleep(1)
    return "lift-off"


if __name__ == "__main__":
    agent.run()
