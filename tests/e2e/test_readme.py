"""README.md: its commands do what it says."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.dispatcher_process import ROOT, up


@pytest.mark.skipif(
    shutil.which("curl") is None or not (ROOT / ".venv/bin/python").exists(),
    reason="no curl, or no .venv to start from",
)
def test_the_first_command_with_curl_reaches_the_agent_and_is_completed(home: Path) -> None:
    """Every block of the section, one after the other, in one shell, on a dispatcher with nothing in it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The first command, with curl")[2]
    script = "\n".join(re.findall(r"```sh\n(.*?)```", section.partition("\n## ")[0], re.DOTALL))
    with up(home, DISPATCHER_ADMIN_PASSWORD="chosen") as run:
        script = (
            script.replace("http://127.0.0.1:8000", run.url)
            .replace("THE PRINTED PASSWORD", "chosen")
            .replace(".dispatcher/", f"{home}/")
        )
        shell = subprocess.Popen(
            ["bash", "-eu", "-c", script],
            cwd=ROOT,
            env=os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            # The agent in the background keeps the pipes open after the shell's end.
            shell.wait(timeout=60)
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
        said, complaints = shell.communicate(timeout=10)

    assert shell.returncode == 0, complaints
    assert "202" in said.splitlines()[0]
    assert '"status":"completed"' in said, said + complaints
