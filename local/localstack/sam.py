"""The SAM CLI: build and deploy with one endpoint."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.localstack import emulator

VENV = emulator.VENV.with_name(".venv-sam")
REGION = "us-east-1"


class SamError(Exception):
    """The SAM CLI failed; the text is its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam:
    """The CLI with an endpoint, a bucket for artifacts and a stack's name."""

    endpoint: str
    bucket: str
    stack: str

    def deploy(self, template: Path, parameters: Mapping[str, str]) -> None:
        """Upload what the template names, create or update the stack, and wait for it."""
        overrides = [f"{name}={value}" for name, value in parameters.items()]
        run(
            "deploy", "-t", str(template), "--stack-name", self.stack, "--s3-bucket", self.bucket,
            "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND", "--no-confirm-changeset",
            "--no-fail-on-empty-changeset", "--no-progressbar",
            *(["--parameter-overrides", *overrides] if overrides else []), endpoint=self.endpoint,
        )  # fmt: skip


def build(template: Path, to: Path) -> Path:
    """Build a template; return the built one.

    Functions and layer are built for the interpreter of the emulator's environment, which is put first on the PATH.
    """
    run(
        "build", "-t", str(template), "--build-dir", str(to / "build"), "--cached", "--cache-dir", str(to / "cache"),
    )  # fmt: skip
    return to / "build" / "template.yaml"


def run(*arguments: str, endpoint: str = "") -> str:
    """Run the CLI without its user's own settings; return its output, or raise SamError with it."""
    own = ("AWS_", "SAM_CLI_", "PYTHON", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    environment |= {
        "PATH": os.pathsep.join([str(emulator.VENV / "bin"), environment.get("PATH", os.defpath)]),
        "SAM_CLI_TELEMETRY": "0",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_DEFAULT_REGION": REGION,
        # The CLI needs credentials; no emulator checks them.
        **dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test"),
    }
    if endpoint:
        environment["AWS_ENDPOINT_URL"] = endpoint
    command = [str(VENV / "bin" / "sam"), *arguments]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise SamError(f"sam {arguments[0]} failed:\n{done.stdout.strip()[-4000:]}")
    return done.stdout
