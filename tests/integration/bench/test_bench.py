"""Every row of the bench gives figures, with numbers so small that they mean nothing."""

import asyncio
import json
import math

import pytest
from rich.console import Console

from bench.__main__ import measure
from bench.context import Sizes
from bench.figures import Figure
from bench.rows import ROWS

TINY = Sizes(
    rounds=1,
    seconds=0.1,
    requests=3,
    flushed=200,
    fan_agents=3,
    fan_each=5,
    first_rounds=1,
    submissions=10,
    fleet=5,
    storms=1,
    idle_seconds=0.5,
    settle_seconds=0.1,
    backlog=2000,
    backlog_drained=100,
    backlog_rounds=1,
)


@pytest.mark.timeout(600)
def test_every_row_gives_figures() -> None:
    """On a real `make up`, beside the peers that are installed."""
    results = asyncio.run(measure(list(ROWS), TINY, Console(quiet=True)))

    assert results["failures"] == {}
    figures = [Figure.read(each) for each in json.loads(json.dumps(results))["figures"]]
    assert {figure.row for figure in figures} == set(ROWS)
    for figure in figures:
        measured = [figure.value, *figure.references]
        assert all(sample >= 0 and math.isfinite(sample) for series in measured for sample in series.samples)
    compared = {figure.row for figure in figures if figure.references}
    assert compared >= {"intake", "bulk", "latency", "first", "storm", "backlog"}
    assert all(figure.value.median > 0 for figure in figures if figure.row not in {"idle", "storm"})
    assert {"postgresql", "python", "psycopg"} <= set(results["versions"])
