"""Runs SAM's own transform over template.yaml, as CloudFormation would.

`python -m tests.template.transform` prints its findings; with a folder it writes the result and the nested stacks there.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from samtranslator.public.exceptions import InvalidDocumentException
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform

from local.sam_template.intrinsics import read

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


def transformed(parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the template as CloudFormation gets it; raises InvalidDocumentException with SAM's findings.

    SAM's transform reads some parameters; those that are not given have their defaults.
    """
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # the translator needs a region, and sends nothing there
    template = _with_packaged_code(read(TEMPLATE))
    # The list of managed policies would come over the network; the template uses none.
    policies = Mock(spec=ManagedPolicyLoader)
    policies.load.return_value = {}
    resources: dict[str, Any] = transform(template, dict(parameters or {}), policies)
    return resources


def _with_packaged_code(template: dict[str, Any]) -> dict[str, Any]:
    """Insert addresses of S3, as `sam package` does."""
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://bucket/key"
    return template


def write(folder: Path, template: dict[str, Any]) -> None:
    """Write the transformed template, and the nested stacks with their aliases resolved, as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "template.json").write_text(json.dumps(template, indent=1, default=str), encoding="utf-8")
    for path in (TEMPLATE.parent / "stacks").glob("*.yaml"):
        (folder / f"{path.stem}.json").write_text(json.dumps(read(path), indent=1, default=str), encoding="utf-8")


def main() -> int:
    """Transform, and print the result."""
    logging.disable(logging.WARNING)
    try:
        template = transformed()
        resources = template["Resources"]
    except InvalidDocumentException as error:
        sys.stdout.write(f"template.yaml: {error.message}\n")
        for cause in error.causes:
            sys.stdout.write(f"  {cause.message}\n")
        return 1
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]), template)
    sys.stdout.write(f"template.yaml: SAM transforms it to {len(resources)} resources\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
