"""Fills a running dispatcher with agents and commands, to look at: `python -m tests.console.fill --password …`.

Some agents connect and answer, some answer slowly, some fail, some never come; so every status occurs.  With --many and
DATABASE_URL it adds 1,000 agents and 100,000 commands, to measure.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
from typing import Any

import psycopg
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from local.http_client import Client

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "\u202egnp.exe \u202d right to left",
    "a\u0301" * 200,
    "x" * 10_000,
)
"""What a hostile agent says about itself and its results."""
ACTIONS = ("restart", "upgrade", "collect-logs", "rotate-certificates", "reload")
HEARTBEAT = 25.0
ZONES = ("eu-1", "eu-2", "us-1")


class FakeAgent:
    """An agent of the second protocol that answers each action as its name says."""

    def __init__(self, url: str, agent_id: str, key: str) -> None:
        self._url = f"{url.replace('http', 'ws', 1)}/api/v1/agents/connect?agent_id={agent_id}&protocol=2"
        self._key = key
        self._random = random.Random(agent_id)  # noqa: S311 - the same answers each time

    async def run(self) -> None:
        """Answer until the connection ends."""
        async with connect(self._url, additional_headers={"X-Agent-Api-Key": self._key}, proxy=None) as socket:
            with contextlib.suppress(ConnectionClosed):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._stay(socket))
                    async for text in socket:
                        for command in json.loads(text).get("commands", ()):
                            await self._answer(socket, command)

    async def _stay(self, socket: ClientConnection) -> None:
        while True:
            await socket.send(json.dumps({"type": "heartbeat", "payload": {"status": "online"}}))
            await asyncio.sleep(HEARTBEAT)

    async def _answer(self, socket: ClientConnection, command: dict[str, Any]) -> None:
        it = {"commandId": command["commandId"], "attempt": command["attempt"]}
        await asyncio.sleep(self._random.uniform(0.02, 0.3))
        if command["action"] == "ignored":
            return
        await self._report(socket, {"kind": "ack", **it})
        await asyncio.sleep(self._random.uniform(0.05, 0.8))
        if command["action"] == "endless":
            await self._report(socket, {"kind": "progress", **it, "progress": {"percent": 40, "step": "copying"}})
        elif self._random.random() < 0.15:
            await self._report(socket, {"kind": "failed", **it, "error": "no space left on device", "retryable": False})
        else:
            said = {"ok": True, "seconds": 1.5, "said": command["payload"].get("say")}
            await self._report(socket, {"kind": "complete", **it, "result": said})

    @staticmethod
    async def _report(socket: ClientConnection, report: dict[str, Any]) -> None:
        await socket.send(json.dumps({"type": "reports", "reports": [report]}))


async def fill(client: Client, agents: int, commands: int, pause: float, seconds: float) -> None:
    """Create agents, connect most of them, submit commands with a pause after each, and let the agents answer for a while."""
    keys = create_agents(client, agents)
    let_agents_wait(client, 3)
    ids = [*keys]
    online = ids[: agents * 3 // 4]
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(FakeAgent(client.url, agent_id, keys[agent_id]).run()) for agent_id in online]
        await asyncio.sleep(1)
        for action, agent_id, limits in (
            ("endless", online[0], {}),
            ("ignored", online[1], {"maxAttempts": 1}),
            ("expires", ids[-1], {"ttlSeconds": 1}),
        ):
            await asyncio.to_thread(
                client.post, f"/api/v1/agents/{agent_id}/commands", {"action": action, "payload": {}, **limits}
            )
        chance = random.Random(1)  # noqa: S311 - the same commands each time
        for number in range(commands):
            action = chance.choice(ACTIONS)
            body = {
                "action": action,
                "payload": {"service": "web", "number": number, "say": chance.choice(HOSTILE)[:200]},
            }
            await asyncio.to_thread(client.post, f"/api/v1/agents/{chance.choice(ids)}/commands", body)
            await asyncio.sleep(pause * chance.random() * 2)
        await asyncio.sleep(seconds)
        for task in running:
            task.cancel()


def create_agents(client: Client, number: int) -> dict[str, str]:
    """Create agents with labels; return their keys."""
    keys: dict[str, str] = {}
    for index in range(number):
        zone = ZONES[index % len(ZONES)]
        agent_id = f"edge-{zone}-{index:02}"
        labels = {"env": "prod" if index % 4 else "test", "zone": zone, **({"canary": "yes"} if index % 7 == 0 else {})}
        body = {"agentId": agent_id, "platform": "linux", "region": zone, "labels": labels}
        keys[agent_id] = client.post("/api/v1/agents", body)["apiKey"]
    return keys


def let_agents_wait(client: Client, number: int) -> list[str]:
    """Let agents enrol that need an approval; return their ids."""
    body = {"prefix": "new-", "uses": number}
    token = client.post("/api/v1/enrolment-tokens", body)["token"]
    ids = [f"new-{token[:6]}-{index}" for index in range(number)]
    for agent_id in ids:
        registration = {"agentId": agent_id, "platform": "linux"}
        client.post("/api/v1/agents/register", registration, x_agent_api_key=token)
    return ids


def fill_many(database_url: str) -> None:
    """Add 1,000 agents, and 100 commands for each."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            """
            insert into agents (agent_id, platform, approval, labels)
            select 'many-' || lpad(n::text, 4, '0'), 'linux', 'approved',
                jsonb_build_object('env', 'prod', 'rack', (n % 40)::text)
            from generate_series(1, 1000) n
            """
        )
        conn.execute(
            """
            insert into agent_commands (command_id, agent_id, action, payload, created_at)
            select 'many-' || n, 'many-' || lpad((n % 1000 + 1)::text, 4, '0'), 'restart', '{"service": "web"}',
                now() - interval '1 minute'
            from generate_series(1, 100000) n
            """
        )


def main() -> None:
    """Fill the dispatcher that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--password", required=True, help="of admin")
    parser.add_argument("--agents", type=int, default=24)
    parser.add_argument("--commands", type=int, default=150)
    parser.add_argument("--pause", type=float, default=0, help="seconds between two commands, on average")
    parser.add_argument("--seconds", type=float, default=10, help="how long the agents stay connected")
    parser.add_argument("--many", action="store_true", help="add 1,000 agents and 100,000 commands to DATABASE_URL")
    asked = parser.parse_args()
    if asked.many:
        fill_many(os.environ["DATABASE_URL"])
        return
    client = Client.log_in(asked.url, "admin", asked.password)
    asyncio.run(fill(client, asked.agents, asked.commands, asked.pause, asked.seconds))


if __name__ == "__main__":
    main()
