"""A copy of the repository in which one fault at a time is put back, and its tests are run."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.regressions.mutation import Mutation
from tests.regressions.runner import TIMED_OUT, Run

NEEDED = ("functions", "layers", "local", "tests", "events", "docs", "template.yaml", "pyproject.toml")
PATIENCE_SECONDS = 90.0
"""A mutation may make a test hang: that is no proof, as nobody waits for it in `make test` either."""
TESTS_FAILED = 1
"""pytest's exit code for failed tests; a file that cannot be collected or a wrong selection has another."""


class Verdict(StrEnum):
    """What became of a mutation."""

    CAUGHT = "caught"
    SURVIVED = "survived"
    BROKE = "broke"
    """The tests did not get as far as to fail: an error while collecting or in a fixture, or no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A mutation's verdict, and what pytest said."""

    mutation: Mutation
    verdict: Verdict
    caught_by: str
    seconds: float
    output: str


class Workbench:
    """One copy; one mutation at a time."""

    def __init__(self, root: Path, folder: Path, database_server: str) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in NEEDED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=ignored)
            else:
                shutil.copy2(root / name, folder / name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        environment = kept | {
            "PYTHONPATH": f"{folder}:{folder / 'layers/dispatcher'}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "TEST_DATABASE_SERVER": database_server,
        }
        self._runner = subprocess.Popen(
            [sys.executable, "-m", "tests.regressions.runner"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End the runner."""
        self._runner.communicate()

    def baseline(self, tests: Iterable[str]) -> str | None:
        """Run tests on the unchanged copy; return what pytest said where they do not pass."""
        code, output = self._pytest(sorted(set(tests)), patience=600.0)
        return output if code else None

    def try_out(self, mutation: Mutation) -> Outcome:
        """Put one fault back, run its tests, mend it again."""
        path = self.folder / mutation.file
        text, times = path.read_text(), path.stat()
        began = time.monotonic()
        path.write_text(mutation.applied_to(text))
        # Another time than the compiled file's, or Python would go on with the code as it was.
        os.utime(path, (times.st_atime, times.st_mtime + 3600))
        try:
            code, output = self._pytest(mutation.caught_by, patience=PATIENCE_SECONDS, mutated=True)
        finally:
            path.write_text(text)
            os.utime(path, (times.st_atime, times.st_mtime))
        failed = re.search(r"^FAILED (\S+)", output, re.MULTILINE)
        red = code == TESTS_FAILED and failed is not None
        return Outcome(
            mutation=mutation,
            verdict=Verdict.CAUGHT if red else Verdict.SURVIVED if code == 0 else Verdict.BROKE,
            caught_by=failed[1] if failed else "",
            seconds=time.monotonic() - began,
            output=output,
        )

    def _pytest(self, tests: Sequence[str], *, patience: float, mutated: bool = False) -> tuple[int, str]:
        output = self.folder / "output.txt"
        arguments = ["-x", "--tb=short", "-rf", "-p", "no:cacheprovider", *tests]
        pipes = self._runner.stdin, self._runner.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        run = Run(arguments=arguments, output=str(output), seconds=patience, keep_bytecode=not mutated)
        pipes[0].write(run.as_line())
        pipes[0].flush()
        code = int(pipes[1].readline())
        said = output.read_text(errors="replace")
        return code, said + (f"\nno end within {patience:.0f} s" if code == TIMED_OUT else "")
