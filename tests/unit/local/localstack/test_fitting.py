"""The template for this machine, and the emulator that the environment names: parts of `make localstack`."""

from pathlib import Path

import pytest

from local.localstack import emulator, fitting
from local.sam_template.intrinsics import read


def test_a_fitted_template_differs_in_processor_and_python_only(root: Path, tmp_path: Path) -> None:
    """So an emulator deploys nearly the same template as AWS."""
    template = fitting.lay_out(root, tmp_path / "source", architecture="x86_64", runtime="python3.11")

    original, fitted = (path.read_text().splitlines() for path in (root / "template.yaml", template))
    changed = [(before, after) for before, after in zip(original, fitted, strict=True) if before != after]
    assert changed
    for before, after in changed:
        assert before.replace("arm64", "x86_64").replace("python3.13", "python3.11") == after
    assert read(template)["Globals"]["Function"]["Architectures"] == ["x86_64"]


def test_only_alarms_of_several_metrics_differ_in_the_nested_stacks(root: Path, tmp_path: Path) -> None:
    """The emulator knows alarms of one metric: such an alarm has its first one there, with its dimensions."""
    fitting.lay_out(root, tmp_path / "source", architecture="x86_64", runtime="python3.11")

    for path in (root / "stacks").glob("*.yaml"):
        before, after = (read(each)["Resources"] for each in (path, tmp_path / "source/stacks" / path.name))
        for resource in before.values():
            metrics = resource.get("Properties", {}).pop("Metrics", None)
            if metrics:
                first = metrics[1]["MetricStat"]
                plain = first["Metric"] | {"Period": first["Period"], "Statistic": first["Stat"]}
                resource["Properties"] |= plain
        assert before == after, path.name


def test_a_fitted_template_finds_the_code(root: Path, tmp_path: Path) -> None:
    """Also if it is written a second time."""
    first, template = (
        fitting.lay_out(root, tmp_path / "source", architecture="arm64", runtime="python3.13") for _ in range(2)
    )

    functions = read(template)["Resources"].values()
    codes = [resource["Properties"]["CodeUri"] for resource in functions if "CodeUri" in resource.get("Properties", {})]
    assert first == template
    assert codes
    assert all((template.parent / code / "app.py").exists() for code in codes)
    assert (root / "template.yaml").exists()


def test_a_template_without_a_runtime_is_refused() -> None:
    """Its functions would run on an unknown Python version."""
    with pytest.raises(fitting.UnfitError):
        fitting.fitted("Resources: {}", architecture="x86_64", runtime="python3.13")


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": "http://localhost:4566/"}, "http://localhost:4566"),
        ({"LOCALSTACK_HOST": "localhost.localstack.cloud"}, "http://localhost.localstack.cloud:4566"),
        ({"LOCALSTACK_HOST": "127.0.0.1:4570"}, "http://127.0.0.1:4570"),
        ({"AWS_ENDPOINT_URL": "http://one:1", "LOCALSTACK_HOST": "two"}, "http://one:1"),
    ],
)
def test_the_environment_names_the_emulator(environment: dict[str, str], url: str | None) -> None:
    """AWS_ENDPOINT_URL before LOCALSTACK_HOST, whose port is LocalStack's."""
    assert emulator.named(environment) == url


def test_nothing_answers_where_nothing_listens() -> None:
    """The error comes at once, not after a deployment."""
    assert not emulator.answers("http://127.0.0.1:1")
