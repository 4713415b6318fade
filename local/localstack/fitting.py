"""The template with this machine's processor and Python instead of Lambda's, for an emulator that runs functions here.

The layer contains compiled wheels, so `sam build` must fetch those of this processor.  The only other change: ministack knows
no alarm of several metrics, so such an alarm gets its first one.
"""

import platform
import re
import shutil
from pathlib import Path

ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
"""The names of processors, and Lambda's names for them."""
_COMPUTED = re.compile(r"^      Metrics:\n(?:        .*\n)+", re.MULTILINE)
_FIRST = re.compile(
    r"Metric: \{Namespace: (\S+), MetricName: (\S+), Dimensions: (?:&\w+ )?(.+)\}\n +Period: (\d+)\n +Stat: (\w+)\n"
)


class UnfitError(Exception):
    """Functions of this template cannot run on this machine."""


def fitted(template: str, *, architecture: str, runtime: str) -> str:
    """Return the template's text with every architecture and Python runtime replaced by these."""
    if not re.search(r"\bpython3\.\d+\b", template):
        raise UnfitError("The template names no Python runtime.")
    return re.sub(r"\b(arm64|x86_64)\b", architecture, re.sub(r"\bpython3\.\d+\b", runtime, template))


def with_plain_alarms(stack: str) -> str:
    """Return the text of a nested stack in which each alarm of several metrics has the first of them only."""
    return _COMPUTED.sub(_first_metric, stack)


def _first_metric(block: re.Match[str]) -> str:
    found = _FIRST.search(block[0])
    if found is None:
        raise UnfitError(f"This alarm has no metric that can be read:\n{block[0]}")
    names = ("Namespace", "MetricName", "Dimensions", "Period", "Statistic")
    return "".join(f"      {name}: {value}\n" for name, value in zip(names, found.groups(), strict=True))


def lay_out(root: Path, folder: Path, *, architecture: str, runtime: str) -> Path:
    """Fill `folder` with links to the repository at `root`, and with a template that fits this machine; return the template.

    The paths in a template are relative to its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink() if left.is_symlink() or left.is_file() else shutil.rmtree(left)
    for entry in root.iterdir():
        if not entry.name.startswith(".") and entry.name not in {"template.yaml", "stacks"}:
            (folder / entry.name).symlink_to(entry)
    (folder / "stacks").mkdir()
    for stack in (root / "stacks").glob("*.yaml"):
        (folder / "stacks" / stack.name).write_text(with_plain_alarms(stack.read_text()))
    template = folder / "template.yaml"
    template.write_text(fitted((root / "template.yaml").read_text(), architecture=architecture, runtime=runtime))
    return template


def as_release(template: Path, name: str) -> Path:
    """Write a built template beside itself with `name` as the default of Release; return the new one.

    AWS gives SAM's transform the values of parameters; ministack does not, and would publish no new versions.
    """
    text, found = re.subn(r"(\n  Release:\n(?:    .*\n)*?    Default: ).*", rf"\1'{name}'", template.read_text())
    if not found:
        raise UnfitError("The built template has no parameter Release.")
    named = template.with_name(f"release-{name}.yaml")
    named.write_text(text)
    return named


def architecture() -> str:
    """Return Lambda's name of this machine's processor; raises UnfitError if there are no wheels for it."""
    machine = platform.machine().lower()
    if platform.system() != "Linux" or machine not in ARCHITECTURES:
        raise UnfitError(
            f"The layer's wheels are for Linux on x86-64 or arm64, as Lambda is; this is {platform.system()} on {machine}.\n"
            "Next: run this in a Linux machine or container, or name an emulator that has one in AWS_ENDPOINT_URL."
        )
    return ARCHITECTURES[machine]
