"""`make smoke`, against the service of `make up`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import urllib3

from tests.e2e.dispatcher_process import PASSWORD, ROOT, until, up


def smoke(*arguments: str, password: str) -> subprocess.CompletedProcess[str]:
    """Run the smoke test as the pipeline does."""
    return subprocess.run(
        [sys.executable, "-m", "local.tools.smoke", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher", "DISPATCHER_ADMIN_PASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def metrics_of(url: str) -> str:
    """Read the metrics as Prometheus does."""
    return urllib3.request("GET", f"{url}/metrics", retries=False).data.decode()


def test_a_deployment_that_works_passes_and_keeps_nothing_of_it(home: Path) -> None:
    """The agent of the smoke test is deleted; a deployment that refuses the log-in or the agents fails.

    What the sweeps published is at /metrics.
    """
    with up(home, DISPATCHER_ADMIN_PASSWORD=PASSWORD) as run:
        passed = smoke(run.url, password=PASSWORD)
        refused = smoke(run.url, password="another password")
        unreachable = smoke(run.url, "ws://127.0.0.1:9/live", password=PASSWORD)
        agents = run.client().get("/api/v1/agents")["agents"]
        until(lambda: "dispatcher_loaded 0.0" in metrics_of(run.url))

    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert re.findall(r"✓ (.*completed), after [\d.]+ s", passed.stdout) == [
        "the waiting command came over @connections and is completed",
        "a command for the connected agent is completed",
    ]
    assert "✓ the service closed the connection when the key was revoked" in passed.stdout
    assert passed.stdout.endswith("✓ the deployment works\n")
    assert (refused.returncode, refused.stdout[:5]) == (1, "✗ 401")
    assert unreachable.returncode == 1
    assert "✗ " in unreachable.stdout
    assert agents == []
