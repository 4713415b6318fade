"""`make rehearse`: bad days under traffic: an upgrade whose migration fails, and a lost region.  Prints what they cost.

python -m local.rehearsal [upgrade] [region]
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from local.http_client import Refused
from local.rehearsal import region, upgrade
from local.rehearsal.traffic import RehearsalFailed


def show(text: str) -> None:
    """Print what holds."""
    sys.stdout.write(f"✓ {text}\n")
    sys.stdout.flush()


def _upgrade(folder: Path) -> str:
    cost = upgrade.rehearse(folder, show)
    return (
        f"All {cost.accepted} accepted commands were executed once.  The longest time without an accepted command, while the"
        f" schema was migrated: {cost.longest_gap:.1f} s."
    )


def _region(folder: Path) -> str:
    cost = region.rehearse(folder, show)
    return (
        f"RPO {cost.recovery_point_seconds:.1f} s, the age of the copy: {cost.lost} of {cost.accepted} commands were lost,"
        f" and {cost.sent_again} of them sent again.\n"
        f"RTO {cost.recovery_time_seconds:.1f} s, of which the database took {cost.restore_seconds:.1f} s.\n"
        "On AWS the copy is up to a day old, and a new stack takes about an hour."
    )


PARTS: dict[str, Callable[[Path], str]] = {"upgrade": _upgrade, "region": _region}


def main(names: list[str]) -> int:
    """Rehearse; return 1 if a check fails."""
    for name in names or PARTS:
        with tempfile.TemporaryDirectory(prefix="dispatcher-rehearsal-", ignore_cleanup_errors=True) as folder:
            try:
                outcome = PARTS[name](Path(folder))
            except (RehearsalFailed, Refused) as error:
                sys.stdout.write(f"✗ {error}\n")
                return 1
        sys.stdout.write(f"{outcome}\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
