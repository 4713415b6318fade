"""The findings in a layer that was built wrongly."""

import struct
from pathlib import Path

import pytest

from tests.template.built import ELF, NEEDED, findings

ARM64, X86 = 0xB7, 0x3E


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A correct layer."""
    for pattern in NEEDED:
        name = pattern.replace("*", ".cpython-313-aarch64-linux-gnu")
        library(tmp_path, name) if name.endswith(".so") else put(tmp_path, name, b"text")
    return tmp_path


def put(layer: Path, name: str, content: bytes) -> None:
    """Put a file into a layer."""
    path = layer / "python" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def library(layer: Path, name: str, machine: int = ARM64, glibc: int = 28) -> None:
    """Put a library into a layer, with only the parts that are checked."""
    put(layer, name, ELF + bytes(14) + struct.pack("<H", machine) + f"\0GLIBC_2.{glibc}\0".encode())


def test_a_layer_for_the_functions_processor_has_no_findings(layer: Path) -> None:
    """Nothing is found."""
    assert list(findings(layer, "arm64", "python3.13")) == []


def test_a_library_of_another_processor_is_found(layer: Path) -> None:
    """`sam build` without BuildArchitecture makes such a layer, and only warns."""
    library(layer, "psycopg_binary/pq.cpython-313-x86_64-linux-gnu.so", X86)

    [found] = findings(layer, "arm64", "python3.13")
    assert found == "psycopg_binary/pq.cpython-313-x86_64-linux-gnu.so is for x86_64, not for arm64"


def test_a_library_of_another_python_or_a_later_system_is_found(layer: Path) -> None:
    """Neither could be imported."""
    library(layer, "a.cpython-312-aarch64-linux-gnu.so")
    library(layer, "b.abi3.so", glibc=38)

    assert sorted(findings(layer, "arm64", "python3.13")) == [
        "a.cpython-312-aarch64-linux-gnu.so is not for python3.13",
        "b.abi3.so needs glibc 2.38; the runtime has 2.34",
    ]


def test_a_file_that_was_not_packed_is_found(layer: Path) -> None:
    """For example the certificates."""
    (layer / "python/dispatcher/platform/rds.pem").unlink()

    assert list(findings(layer, "arm64", "python3.13")) == ["dispatcher/platform/rds.pem is missing"]
