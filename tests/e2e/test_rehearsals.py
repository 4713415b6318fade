"""What `make rehearse` plays: an upgrade whose migration fails, and a lost region, both under traffic."""

from pathlib import Path

from local.rehearsal import region, upgrade


def test_an_upgrade_under_traffic_loses_nothing_also_when_its_migration_fails(home: Path) -> None:
    """A migration gives way to traffic, a file that fails changes nothing, both releases serve, and there is a way back."""
    home.mkdir(parents=True)
    shown: list[str] = []

    cost = upgrade.rehearse(home, shown.append)

    assert cost.waits >= 1
    assert cost.longest_gap < 10
    assert "9003_broken.sql was not applied" in cost.error
    assert "the release of before, on the newer schema serves" in shown


def test_a_lost_region_goes_on_elsewhere_with_agents_that_know_nothing_of_it(home: Path) -> None:
    """Lost is what was accepted after the copy; sent again under its key, it is executed, and nothing else twice."""
    home.mkdir(parents=True)

    cost = region.rehearse(home, lambda _text: None)

    assert 0 < cost.lost == cost.sent_again < cost.accepted
    assert cost.restore_seconds < cost.recovery_time_seconds < 90
