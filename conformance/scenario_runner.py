"""Plays the scenes, each with an agent of its own, all at once or one after the other."""

import asyncio
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from conformance.checks import CHECKS
from conformance.findings import Findings
from conformance.harness import CurtainError, Options, Stage
from conformance.process import NotStartedError
from conformance.review import review
from conformance.scenarios import SCENES

Told = Callable[[str, bool], None]
"""Told the name of a scene, and whether it is over."""


def wanted(only: Collection[str]) -> Findings:
    """Return empty findings about the checks of these names, or of scenes of these names; about all for none."""
    return Findings(check for check in CHECKS if not only or {check.name, check.scene} & set(only))


async def run(options: Options, findings: Findings, *, at_once: bool = True, told: Told | None = None) -> None:
    """Play each scene that can find out something wanted; raises NotStartedError where the agent is no program."""
    scenes = [name for name in SCENES if findings.of_scene(name)]
    limit = asyncio.Semaphore(len(scenes) if at_once else 1)
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        try:
            async with asyncio.TaskGroup() as group:
                for name in scenes:
                    group.create_task(_in_turn(Stage(options, findings, name, Path(folder) / name), limit, told))
        except* NotStartedError as error:
            not_started = error.exceptions[0]
        else:
            return
    raise not_started from None


async def _in_turn(stage: Stage, limit: asyncio.Semaphore, told: Told | None) -> None:
    async with limit:
        if told:
            told(stage.name, False)  # noqa: FBT003 - it begins
        await _play(stage)
        if told:
            told(stage.name, True)  # noqa: FBT003 - it is over


async def _play(stage: Stage) -> None:
    why = "not seen"
    async with stage:
        try:
            await SCENES[stage.name][1](stage)
        except CurtainError as error:
            why = str(error)
        await stage.settle()
        review(stage)
    stage.findings.unreached(stage.name, why)
