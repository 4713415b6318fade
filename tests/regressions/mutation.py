"""One mutation as data, and how its place in the product is found."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PRODUCT = (
    "layers/dispatcher/dispatcher/**/*.py",
    "layers/dispatcher/dispatcher/**/*.sql",
    "functions/**/*.py",
    "clients/python/src/**/*.py",
    "template.yaml",
)
GAP = 600
"""The most characters that `...` can match."""
CANDIDATES = 3
_TOKEN = re.compile(r"\.\.\.|\w+|[^\w\s]")
_SPACE = r"(?:\s|--[^\n]*\n|#[^\n]*\n)*"


class OutOfDate(Exception):
    """The code that a mutation changes is not in the product exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a snippet is: a file, and the match in its text."""

    path: Path
    match: re.Match[str]

    def __str__(self) -> str:
        return f"{self.path}:{_line(self.match.string, self.match.start())}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A regression that is put back: the code `find` becomes `replace`, and the test `caught_by` must fail.

    `find` is compared token by token: all runs of white space are equal, comments and trailing commas do not count, and
    `...` matches any code between two parts (`replace` may repeat it).  No file is named: code may move.
    """

    name: str
    puts_back: str
    """One sentence: what goes wrong."""
    stands_for: tuple[str, ...]
    """Regressions (R1, S1) and invariants (I1)."""
    find: str
    replace: str
    caught_by: str
    """The name of a test function."""

    def place(self, product: Mapping[Path, str]) -> Place:
        """Find the code; raises OutOfDate with the places that come close."""
        pattern = _pattern(self.find)
        places = [Place(path=path, match=match) for path, text in product.items() for match in pattern.finditer(text)]
        if len(places) == 1:
            return places[0]
        shown = map(str, places) if places else _nearest(self.find, product)
        raise OutOfDate(
            "\n  ".join(
                [f"{self.name} is out of date: the product has this {len(places)} times: {' '.join(self.find.split())}"]
                + [f"{'found at' if places else 'similar:'} {each}" for each in shown]
            )
        )

    def apply(self, product: Mapping[Path, str]) -> tuple[Path, str]:
        """Return the file to change and its new text; raises OutOfDate."""
        place = self.place(product)
        match, text = place.match, place.match.string
        line = text[text.rfind("\n", 0, match.start()) + 1 :]
        margin = line[: len(line) - len(line.lstrip(" "))]
        gaps = iter(match.groups())
        changed = re.sub(r"\.\.\.", lambda _: next(gaps), self.replace.replace("\n", "\n" + margin))
        return place.path, text[: match.start()] + changed + text[match.end() :]


def read_product(root: Path) -> dict[Path, str]:
    """Read every file of the product that a mutation may change, by its path below `root`."""
    return {path.relative_to(root): path.read_text() for glob in PRODUCT for path in sorted(root.glob(glob))}


def find_tests(root: Path) -> dict[str, list[Path]]:
    """Return the files that define each test function, by the function's name."""
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
            found.setdefault(name, []).append(path.relative_to(root))
    return found


def _pattern(snippet: str) -> re.Pattern[str]:
    parts = [_part(part) for part in snippet.split("...")]
    # A gap holds no second beginning: the match is the shortest one.
    gaps = [rf"((?:(?!{part}).){{0,{GAP}}}?)" for part in parts]
    return re.compile(parts[0] + "".join(gap + part for gap, part in zip(gaps, parts[1:], strict=False)), re.DOTALL)


def _part(snippet: str) -> str:
    tokens: list[str] = _TOKEN.findall(snippet)
    found: list[str] = []
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "," and following in {")", "]", "}"}:
            continue
        comma = rf"(?:,{_SPACE})?" if token in {")", "]", "}"} else ""
        found.append(comma + (rf"\b{token}\b" if token[0].isalnum() or token[0] == "_" else re.escape(token)))
    return _SPACE.join(found)


def _nearest(snippet: str, product: Mapping[Path, str]) -> Iterator[str]:
    """Find the stretches of code, of the snippet's length, that share the most tokens with it."""
    wanted = Counter(_TOKEN.findall(snippet.replace("...", " ")))
    found: list[tuple[int, str]] = []
    for path, text in product.items():
        for line in re.finditer(r"^ *(?=\S)", text, re.MULTILINE):
            tokens: list[str] = _TOKEN.findall(text[line.end() : line.end() + 3 * len(snippet)])[: wanted.total()]
            common = (wanted & Counter(tokens)).total()
            if 2 * common >= wanted.total():
                found.append((common, f"{path}:{_line(text, line.end())}: {' '.join(tokens)}"))
    return (shown for _, shown in sorted(found, key=lambda each: -each[0])[:CANDIDATES])


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
