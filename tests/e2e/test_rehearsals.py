"""What `make rehearse` plays: an upgrade whose migration fails, and a lost region, both under traffic."""

import re
from pathlib import Path

import pytest

from local.rehearsal import __main__ as rehearsal
from local.rehearsal import upgrade


def test_an_upgrade_under_traffic_loses_nothing_also_when_its_migration_fails(home: Path) -> None:
    """A migration gives way to traffic, a file that fails changes nothing, both releases serve, and there is a way back."""
    home.mkdir(parents=True)
    shown: list[str] = []

    cost = upgrade.rehearse(home, shown.append)

    assert cost.waits >= 1
    assert cost.longest_gap < 10
    assert "9003_broken.sql was not applied" in cost.error
    assert "the release of before, on the newer schema serves" in shown


def test_a_lost_region_goes_on_elsewhere_with_agents_that_know_nothing_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Lost is what was accepted after the copy; sent again under its key, it is executed, and nothing else twice."""
    code = rehearsal.main(["region"])

    said = capsys.readouterr().out
    found = re.search(r"RPO ([\d.]+) s, .*: (\d+) of (\d+) commands were lost, and (\d+) of them sent again\.", said)
    assert code == 0, said
    assert found is not None
    lost, accepted, again = map(int, found.groups()[1:])
    assert 0 < lost == again < accepted
    assert re.search(r"RTO [\d.]+ s, of which the database took [\d.]+ s\.", said)
