"""One mutation as data."""

from dataclasses import dataclass
from pathlib import Path


class OutOfDate(Exception):
    """The code that a mutation changes is not there exactly once any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A fault that is put back: where `old` stands, exactly once, `new` is put."""

    name: str
    puts_back: str
    """What goes wrong with it, and which row or invariant (R.., I..) that breaks."""
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    """The tests that must turn red, as pytest wants them: path::name."""

    def applied_to(self, text: str) -> str:
        """Return the file's text with the fault in it; raises OutOfDate."""
        found = text.count(self.old)
        if found != 1:
            raise OutOfDate(f"{self.name} is out of date: its old text stands {found} times in {self.file}")
        return text.replace(self.old, self.new)

    def check(self, root: Path) -> None:
        """Raise OutOfDate where it cannot be applied to the files under `root`."""
        self.applied_to((root / self.file).read_text())
