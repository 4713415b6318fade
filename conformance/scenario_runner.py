"""Runs the scenarios, each with its own agent process, all at once or one after the other."""

import asyncio
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from conformance.agent_process import NotStartedError
from conformance.checks import CHECKS
from conformance.findings import Findings
from conformance.harness import Harness, Options, ScenarioAborted
from conformance.review import review
from conformance.scenarios import SCENARIOS


def findings_for(names: Collection[str]) -> Findings:
    """Return empty findings for the checks with these names or of scenarios with these names; without names, for all."""
    return Findings(check for check in CHECKS if not names or {check.name, check.scenario} & set(names))


async def run(
    options: Options,
    findings: Findings,
    *,
    at_once: bool = True,
    on_finished: Callable[[str], None] = lambda scenario: None,  # noqa: ARG005 - the name is part of the signature
) -> None:
    """Run every scenario with a wanted check; raises NotStartedError if the agent is not a program."""
    scenarios = [name for name in SCENARIOS if findings.of_scenario(name)]
    limit = asyncio.Semaphore(len(scenarios) if at_once else 1)

    async def run_one(harness: Harness) -> None:
        async with limit:
            await _play(harness)
        on_finished(harness.scenario)

    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        try:
            async with asyncio.TaskGroup() as group:
                for name in scenarios:
                    group.create_task(run_one(Harness(options, findings, name, Path(folder) / name)))
        except* NotStartedError as errors:
            not_started = errors.exceptions[0]
        else:
            return
    raise not_started from None


async def _play(harness: Harness) -> None:
    why = "not observed"
    async with harness:
        try:
            await SCENARIOS[harness.scenario][1](harness)
        except ScenarioAborted as error:
            why = str(error)
        await harness.wait_for_late_acks()
        review(harness)
    harness.findings.not_reached(harness.scenario, why)
