"""The bill and the load: arithmetic that can be checked by hand."""

from pathlib import Path

import pytest

from dispatcher.commands import findings, latencies
from dispatcher.commands.loss_check import CHECKS, FIGURES
from dispatcher.commands.sweep import Swept
from dispatcher.webhooks.webhook_queue import Figures
from dispatcher.webhooks.webhook_run import Ran
from local.sam_template.intrinsics import read
from local.tools import capacity as load
from local.tools import costs
from local.tools.costs import total


def test_an_agents_minutes_and_messages_are_billed_as_the_gateway_counts_them() -> None:
    """43,800 minutes and 87,600 heartbeats a month."""
    connected, messages, *_ = costs.agent_month()

    assert connected.usd == pytest.approx(43_800 * 0.25e-6)
    assert messages.usd == pytest.approx(87_600 * 1e-6)


def test_heartbeats_that_the_gateway_answers_save_their_invocations() -> None:
    """All other costs stay the same."""
    usual, answered = costs.agent_month(), costs.agent_month(gateway_heartbeats=True)

    assert [one.what for one, other in zip(usual, answered, strict=True) if one != other] == [
        "Heartbeats, as invocations"
    ]


def test_a_replica_doubles_the_database_and_a_proxy_has_a_minimum() -> None:
    """AWS bills at least eight units for the proxy."""
    plain, large = costs.standing(), costs.standing(replica=True, proxy=True)

    assert large[0].usd == pytest.approx(2 * plain[0].usd)
    assert total(large) - total(plain) == pytest.approx(plain[0].usd + 8 * 0.015 * 730)


def test_the_bill_counts_what_the_template_has(root: Path) -> None:
    """Alarms, metrics, and the memory of a function."""
    stacks = [read(root / f"stacks/{name}.yaml")["Resources"] for name in ("monitoring", "release_alarms")]
    monitoring = [resource for stack in stacks for resource in stack.values()]
    function = read(root / "template.yaml")["Globals"]["Function"]

    alarms = [resource["Properties"] for resource in monitoring if resource["Type"] == "AWS::CloudWatch::Alarm"]
    watched = [sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1 for alarm in alarms]
    assert sum(watched) == costs.ALARMS
    published = {*CHECKS, *FIGURES, *Swept.__dataclass_fields__, *latencies.METRICS, *findings.METRICS}
    published |= {*Figures.__dataclass_fields__, *Ran.__dataclass_fields__}
    assert len(published) == costs.METRICS
    assert function["MemorySize"] == costs.MEMORY_GB * 1024


def test_the_throttle_of_the_stage_is_the_first_limit() -> None:
    """Three heartbeats a minute of 1,000 agents pass it 30 times over; those of 100,000 do not pass it."""
    first = {agents: load.loads(agents)[0] for agents in (1_000, 100_000)}

    assert first[1_000].share < 0.05
    assert first[100_000].share > 1
    assert read(Path(__file__).parents[4] / "template.yaml")["Parameters"]["RequestRate"]["Default"] == load.STAGE_RATE
