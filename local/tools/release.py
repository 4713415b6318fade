"""The parameters of `make deploy`: those of samconfig.toml, and the name of a new release.

    python -m local.tools.release prod

`--parameter-overrides` replaces the whole list of samconfig.toml, so both are printed.  RELEASE gives another name.
"""

import argparse
import os
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION, TEMPLATE = ROOT / "samconfig.toml", ROOT / "template.yaml"
NAME = re.compile("[A-Za-z0-9]{1,10}")
"""As the template has it: SAM reads ten characters of a longer name."""


def overrides(environment: str, name: str) -> str:
    """Return the parameters of an environment of samconfig.toml with the name of a release.

    Raises ValueError for an environment that is not there and for a name that the template refuses.
    """
    configuration: dict[str, Any] = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    if environment not in configuration:
        raise ValueError(f"samconfig.toml has no {environment}.")
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a release: 1 to 10 letters and digits.")
    given: str = configuration[environment].get("deploy", {}).get("parameters", {}).get("parameter_overrides", "")
    return f"{given} Release={name}".strip()


def stack(environment: str) -> str:
    """Return the name of an environment's stack; raises ValueError for one that is not there."""
    configuration: dict[str, Any] = tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))
    if environment not in configuration:
        raise ValueError(f"samconfig.toml has no {environment}.")
    if environment != "default":
        configuration["default"] |= configuration[environment]
    name: str = configuration["default"]["global"]["parameters"]["stack_name"]
    return name


def signed(profile: str) -> str:
    """Return what `sam deploy --signing-profiles` wants: each function and layer of the template with the profile."""
    text = TEMPLATE.read_text(encoding="utf-8")
    names = re.findall(r"^  (\w+):\n    Type: AWS::Serverless::(?:Function|LayerVersion)$", text, re.MULTILINE)
    return " ".join(f"{name}={profile}" for name in names)


def main() -> int:
    """Print the parameters, the name of the stack, or the signing profiles."""
    parser = argparse.ArgumentParser(prog="python -m local.tools.release")
    parser.add_argument("environment", help="an environment of samconfig.toml")
    parser.add_argument("--stack", action="store_true", help="print the name of the stack instead")
    parser.add_argument("--signed", metavar="PROFILE", help="print what AWS Signer is to sign instead")
    given = parser.parse_args()
    name = os.environ.get("RELEASE") or datetime.now(UTC).strftime("%y%m%d%H%M")
    try:
        if given.signed:
            text = signed(given.signed)
        else:
            text = stack(given.environment) if given.stack else overrides(given.environment, name)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
