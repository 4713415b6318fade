"""Checks the result of `sam build`: `python -m tests.template.built`, part of `make build`.

A function of arm64 with libraries for another processor or for a later glibc deploys without an error and fails at its
first import.
"""

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from local.sam_template.intrinsics import read

BUILT = Path(__file__).resolve().parents[2] / ".aws-sam" / "build"
ELF = b"\x7fELF"
MACHINES = {0xB7: "arm64", 0x3E: "x86_64"}
GLIBC_MOST = 34
"""Lambda's python3.12 and later run on Amazon Linux 2023, whose glibc is 2.34."""
UNZIPPED_MOST = 250 * 1024 * 1024
"""Largest size in bytes of a function with its layers."""
NEEDED = (
    "dispatcher/platform/rds.pem",
    "dispatcher/api/openapi.json",
    "dispatcher/console/index.html",
    "dispatcher/console/vendor/lit.js",
    "dispatcher/schema/0001_dispatcher.sql",
    "httptools/parser/parser*.so",
    "psycopg_binary/pq*.so",
    "cryptography/hazmat/bindings/_rust*.so",
    "_argon2_cffi_bindings/_ffi*.so",
    "pydantic_core/_pydantic_core*.so",
)


def findings(layer: Path, machine: str, runtime: str) -> Iterator[str]:
    """Yield the errors of a layer that was built for this processor and runtime."""
    python = layer / "python"
    for pattern in NEEDED:
        if not list(python.glob(pattern)):
            yield f"{pattern} is missing"
    tag = "cpython-" + runtime.removeprefix("python").replace(".", "")
    size = 0
    for path in python.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        size += len(content)
        if not content.startswith(ELF):
            continue
        name = path.relative_to(python)
        (found,) = struct.unpack_from("<H", content, 18)
        if MACHINES.get(found) != machine:
            yield f"{name} is for {MACHINES.get(found, hex(found))}, not for {machine}"
        if "cpython-" in path.name and f"{tag}-" not in path.name:
            yield f"{name} is not for {runtime}"
        newest = max((int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", content)), default=0)
        if newest > GLIBC_MOST:
            yield f"{name} needs glibc 2.{newest}; the runtime has 2.{GLIBC_MOST}"
    if size > UNZIPPED_MOST:
        yield f"{size // 1024**2} MB unzipped; Lambda takes {UNZIPPED_MOST // 1024**2}"


def main() -> int:
    """Check the build, and print the findings."""
    template = read(BUILT / "template.yaml")
    function = template["Globals"]["Function"]
    wrong = list(findings(BUILT / "DispatcherLayer", function["Architectures"][0], function["Runtime"]))
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            files = [path.name for path in (BUILT / name).iterdir()]
            if files != ["app.py"]:
                wrong.append(f"{name} is more than one file: {', '.join(sorted(files))}")
        if resource["Type"] == "AWS::CloudFormation::Stack":
            read(BUILT / resource["Properties"]["TemplateURL"])
    for finding in wrong:
        sys.stdout.write(f"{finding}\n")
    if not wrong:
        libraries = len([path for path in (BUILT / "DispatcherLayer").rglob("*") if ".so" in path.name])
        sys.stdout.write(f"The layer holds {libraries} libraries, all for {function['Runtime']} on arm64.\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
