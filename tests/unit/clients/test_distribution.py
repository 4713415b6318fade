"""The distribution: what its wheel contains and needs."""

import email
import re
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network: the build backend is one of this repository's own packages."""
    root = Path(__file__).resolve().parents[3]
    folder = tmp_path_factory.mktemp("wheel")
    build = ["pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", *build, str(root / "clients/python")], check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    """What the wheel says about itself."""
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile, root: Path) -> None:
    """Every module, the marker that it is typed, the script."""
    source = root / "clients/python/src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == modules | {"command_dispatcher/py.typed"}
    scripts = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "dispatcher = command_dispatcher.cli.main:main" in wheel.read(scripts).decode()


def test_it_needs_few_libraries_and_none_of_aws(metadata: Message, root: Path) -> None:
    """Those of requirements/client.in, in ranges that the versions tested here fit."""
    needed = {re.split(r"[<>=; ]", line)[0] for line in metadata.get_all("Requires-Dist", ()) if "extra ==" not in line}
    pinned = re.findall(r"^([\w-]+)==", (root / "requirements/client.in").read_text(), re.MULTILINE)
    assert needed == set(pinned)
    assert (metadata["Name"], metadata["Requires-Python"]) == ("agent-command-dispatcher", ">=3.11")
