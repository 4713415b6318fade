"""`make demo`, on a terminal of the usual width."""

import os
import re
import subprocess
import sys

from tests.e2e.dispatcher_process import ROOT


def demo(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demonstration as on a terminal of 80 columns."""
    return subprocess.run(
        [sys.executable, "-m", "local.demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/layers/dispatcher", "COLUMNS": "80", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_scenario_passes_and_can_be_read_at_80_columns() -> None:
    """No heading is cut, and the name of the column that the scenario is about is not cut either."""
    shown = demo()

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"^  error_message +NULL *$", shown.stdout, re.MULTILINE)
    assert len(re.findall(r"^\d [^…\n]+ ─+$", shown.stdout, re.MULTILINE)) == 9
    assert "…" not in shown.stdout


def test_a_terminal_that_knows_only_ascii_is_no_error() -> None:
    """What it cannot show is a question mark."""
    shown = demo(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert shown.stdout.isascii()
    assert "all checks passed" in shown.stdout
