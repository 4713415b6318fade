"""A runtime with three functions: one obeys its event, one cannot be imported, one exits while it is loaded."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from local.lambda_runtime.runtime import Result, Runtime
from local.sam_template.resources import Deployment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

TEMPLATE = """
Globals:
  Function: {CodeUri: code, Timeout: TIMEOUT, Layers: [!Ref Layer], Environment: {Variables: {OWN: template, OTHER: template}}}
Resources:
  Layer: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer}}
  Act: {Type: AWS::Serverless::Function, Properties: {Handler: app.handler, MemorySize: 256}}
  Broken: {Type: AWS::Serverless::Function, Properties: {Handler: absent.handler}}
  Dying: {Type: AWS::Serverless::Function, Properties: {Handler: dying.handler}}
"""

CODE = """
import dataclasses, decimal, os, sys, time
import layered.module

count = 0


def handler(event, context):
    global count
    count += 1
    return actions[event["act"]](event, context)


def raise_(event, context):
    raise LookupError(event["text"])


def noise(event, context):
    for number in range(2000):
        print("line", number)
    os.write(2, b"on standard error, without an end")


actions = {
    "echo": lambda event, context: event,
    "pid": lambda event, context: [os.getpid(), count],
    "environment": lambda event, context: dict(os.environ),
    "context": lambda event, context: {
        **{field.name: getattr(context, field.name) for field in dataclasses.fields(context)},
        "remaining": context.get_remaining_time_in_millis(),
    },
    "layer": lambda event, context: layered.module.NAME,
    "sleep": lambda event, context: time.sleep(event["seconds"]) or os.getpid(),
    "wait": lambda event, context: open(event["fifo"]).close(),  # until somebody writes to it
    "decimal": lambda event, context: decimal.Decimal("1.5"),
    "set": lambda event, context: {1},
    "surrogate": lambda event, context: "\\ud800",
    "raise": raise_,
    "raise_id": lambda event, context: raise_({"text": context.aws_request_id}, context),
    "exit": lambda event, context: os._exit(3),
    "kill": lambda event, context: os.kill(os.getpid(), 9),
    "noise": noise,
}
"""


@dataclass(kw_only=True)
class Running:
    """A runtime, and what its functions printed."""

    runtime: Runtime
    lines: list[tuple[str, str]]

    async def act(self, act: str, **event: object) -> Result:
        """Run the function that obeys its event."""
        return await self.runtime.invoke("Act", {"act": act, **event})


async def until(holds: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - a process, or a line of a log
            await asyncio.sleep(0.01)


def deployment_in(folder: Path, *, timeout: int = 2) -> Deployment:
    """Write the functions and their template; `timeout` is Lambda's, in seconds."""
    (folder / "code").mkdir()
    (folder / "code/app.py").write_text(CODE, encoding="utf-8")
    (folder / "code/dying.py").write_text("import os\nos._exit(9)", encoding="utf-8")
    (folder / "layer/layered").mkdir(parents=True)
    (folder / "layer/layered/__init__.py").touch()
    (folder / "layer/layered/module.py").write_text("NAME = 'layered'", encoding="utf-8")
    (folder / "template.yaml").write_text(TEMPLATE.replace("TIMEOUT", str(timeout)), encoding="utf-8")
    return Deployment.load(folder / "template.yaml")


def run(
    folder: Path, test: Callable[[Running], Awaitable[object]], *, timeout: int = 2, **settings: Any
) -> list[tuple[str, str]]:
    """Run a test with its own runtime; return everything that the functions printed."""
    deployment = deployment_in(folder, timeout=timeout)
    lines: list[tuple[str, str]] = []

    async def work() -> None:
        runtime = Runtime(
            deployment,
            gateway_url="http://gateway",
            log=lambda name, line: lines.append((name, line)),
            environment={"OTHER": "override"},
            preload=(),
            **settings,
        )
        try:
            await test(Running(runtime=runtime, lines=lines))
        finally:
            await runtime.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
    return lines
