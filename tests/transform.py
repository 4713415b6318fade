"""Runs SAM's own transform over template.yaml, as CloudFormation would: `python -m tests.transform` says what it finds."""

import logging
import os
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from samtranslator.public.exceptions import InvalidDocumentException
from samtranslator.public.translator import ManagedPolicyLoader
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse  # pyright: ignore[reportUnknownVariableType]

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"


def transformed() -> dict[str, Any]:
    """Return the template as CloudFormation gets it; raises InvalidDocumentException with SAM's findings."""
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # it wants one, and asks nobody there
    template = _with_packaged_code(yaml_parse(TEMPLATE.read_text()))
    # The managed policies would be listed over the network; the template names none.
    policies = Mock(spec=ManagedPolicyLoader)
    policies.load.return_value = {}
    resources: dict[str, Any] = transform(template, {}, policies)
    return resources


def _with_packaged_code(template: dict[str, Any]) -> dict[str, Any]:
    """Put addresses of S3 where `sam package` puts them."""
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://bucket/key"
    return template


def main() -> int:
    """Transform, and say what came out."""
    logging.disable(logging.WARNING)
    try:
        resources = transformed()["Resources"]
    except InvalidDocumentException as error:
        sys.stdout.write(f"template.yaml: {error.message}\n")
        for cause in error.causes:
            sys.stdout.write(f"  {cause.message}\n")
        return 1
    sys.stdout.write(f"template.yaml: SAM makes {len(resources)} resources of it\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
