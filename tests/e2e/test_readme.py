"""The commands in README.md, docs/quickstart.md and docs/events.md work as described."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import pytest

from examples.reference_agent.session_processes import Sessions
from tests.e2e.dispatcher_process import ROOT, up


def blocks(document: str, heading: str, language: str = "sh") -> str:
    """Return the code of one section, as one script."""
    section = (ROOT / document).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


@pytest.mark.skipif(
    shutil.which("curl") is None or not (ROOT / ".venv/bin/python").exists(),
    reason="no curl, or no .venv to start from",
)
def test_the_commands_of_readme_and_quickstart_work_one_after_the_other(home: Path) -> None:
    """In one shell, on an empty dispatcher; between the two documents the agent is stopped, as the quickstart says."""
    script = "\n".join(
        [
            blocks("README.md", "The first command, with curl"),
            "kill $!; wait $! || true",
            blocks("docs/quickstart.md", "Ask why a command waits"),
            blocks("docs/quickstart.md", "Cancel it, or send it again"),
            blocks("docs/events.md", "Follow the feed"),
        ]
    )
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
            said, complaints = shell.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the agent still runs if the script failed
                os.killpg(shell.pid, signal.SIGTERM)
            sessions = Sessions(home / "my-agent")
            for session_id in sessions.active():  # a session outlives its agent on purpose
                sessions.stop(session_id)
        with psycopg.connect(run.environment["DATABASE_URL"], autocommit=True) as conn:
            conn.execute(blocks("docs/quickstart.md", "Submit with SQL", "sql").encode())
            row = conn.execute("select status, cause from agent_commands where command_id = 'row-1'").fetchone()

    assert shell.returncode == 0, complaints
    assert "202" in said.splitlines()[0]
    assert '"status":"completed"' in said, said + complaints
    assert '"reason":"agent-away"' in said, said + complaints
    assert '"status":"cancelled"' in said, said + complaints
    assert '"type":"agent.created"' in said, said + complaints
    assert re.search(r'"redriveOf":"cmd-', said), said + complaints
    assert row == ("pending", "accepted")
