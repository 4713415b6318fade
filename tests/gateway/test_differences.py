"""Each known difference of a target has a test, and is in the documentation."""

from pathlib import Path

from tests.gateway import test_api_gateway
from tests.gateway.targets import DIFFERENCES, TARGETS


def test_each_difference_is_shown_by_a_test() -> None:
    """The test and the target exist."""
    assert DIFFERENCES.keys() == TARGETS.keys()
    for differences in DIFFERENCES.values():
        assert [name for name in differences if not hasattr(test_api_gateway, name)] == []


def test_each_difference_is_in_the_documentation(root: Path) -> None:
    """The documentation has no other differences."""
    told = (root / "docs" / "local-aws.md").read_text().rpartition("turns the run red")[2]
    listed = [line.removeprefix("- ") for line in told.splitlines() if line.startswith("- ")]

    assert listed == list(DIFFERENCES["ministack"].values())


def test_the_local_gateway_has_no_differences() -> None:
    """It passes every conformance test."""
    assert DIFFERENCES["local"] == {}
