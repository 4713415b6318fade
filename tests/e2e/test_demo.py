"""`make demo`, on a terminal of the usual width."""

import os
import re
import subprocess
import sys

from tests.e2e.dispatcher_process import ROOT


def test_the_scenario_passes_and_can_be_read_at_80_columns() -> None:
    """No heading is cut, and the name of the column that the scenario is about is not cut either."""
    shown = subprocess.run(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^  error_message +NULL *$", shown.stdout, re.MULTILINE)
    assert len(re.findall(r"^\d [^…\n]+ ─+$", shown.stdout, re.MULTILINE)) == 9
    assert "…" not in shown.stdout
