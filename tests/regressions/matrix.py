"""`docs/faults.md`: written from the matrix, the regressions and the mutations, so that it cannot say what is not so."""

import re
from collections.abc import Iterable, Iterator

from tests.regressions.fault import Fault
from tests.regressions.faults import MATRIX
from tests.regressions.mutation import Mutation
from tests.regressions.regressions import INVARIANTS, NO_MUTATION, REGRESSIONS
from tests.regressions.table import MUTATIONS

DOCUMENT = "docs/faults.md"
INTRODUCTION = """\
# What is thrown at it, and what holds

Made by `make generated` from `tests/regressions`; a test compares them.

You need not believe that a command is never lost. Three programs try to show the opposite, and this document says what each of
them tries:

- **`make faults`** plays histories: operators submit, cancel and redrive; agents come, go, crash, answer late, twice or
  wrongly; posts are refused, swallowed or answered too late; processes are killed and database connections cut in the middle of
  what they do. A checker that saw every event from outside then asserts I1 to I16. `make faults N=10000 SEED=7` plays ten
  thousand histories. All that happens follows from the seed: a history that breaks something is shrunk to its shortest form and
  printed with its seed, and the same `N` and `SEED` play it again.
- **`make test`** has a test for each fault of the matrix below, on a real PostgreSQL, one fault at a time.
- **`make mutations`** asks whether those tests could fail at all. It puts one fault at a time into a copy of the code (a guard
  left out, `<` for `<=`, a lease ignored, a pass of the sweep skipped), runs the tests that are there for it, and shows the one
  that turned red. A mutation that no test notices ends it with an error, as does one whose place in the code is gone.
  `make mutations ARGS="--only lease --verbose"` tries those with `lease` in their names and says what the tests said.

What this does not show: AWS's own behaviour is taken from its documentation and played by `local/`.
"""


def rendered() -> str:
    """Return the document."""
    return "\n".join([INTRODUCTION, *_invariants(), *_matrix(), *_regressions(), *_mutations()])


def referred_to(mutation: Mutation) -> list[str]:
    """Return the regressions and invariants that a mutation says it breaks."""
    return re.findall(r"\b[RI]\d+\b", mutation.puts_back)


def _by_reference(prefix: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for mutation in MUTATIONS:
        for reference in referred_to(mutation):
            if reference.startswith(prefix):
                found.setdefault(reference, []).append(mutation.name)
    return found


def _invariants() -> Iterator[str]:
    count = _by_reference("I")
    yield "## The invariants"
    yield ""
    yield "| | what must always hold | mutations that break it |"
    yield "|---|---|---|"
    for name, says in INVARIANTS.items():
        yield f"| {name} | {says} | {len(count.get(name, []))} |"
    yield ""


def _matrix() -> Iterator[str]:
    yield "## The matrix"
    yield ""
    yield "Each test is named by its file and its name, each mutation by its name in the last table."
    yield ""
    for group, faults in MATRIX.items():
        yield f"### {group}"
        yield ""
        yield "| fault | what holds | test | mutations |"
        yield "|---|---|---|---|"
        yield from map(_row, faults)
        yield ""


def _row(fault: Fault) -> str:
    named = "I1 to I16" if set(fault.invariants) == INVARIANTS.keys() else ", ".join(fault.invariants)
    promised = f"{fault.holds} ({named})" if named else fault.holds
    return (
        f"| {fault.what} | {promised} | {_lines(map(_test, fault.tests))} | {_lines(_code(fault.mutations)) or '—'} |"
    )


def _regressions() -> Iterator[str]:
    mutations = _by_reference("R")
    yield "## The original's regressions"
    yield ""
    yield "How StreamSpace's dispatcher broke, each put back at least once."
    yield ""
    yield "| | what happened there | put back by |"
    yield "|---|---|---|"
    for name, what in REGRESSIONS.items():
        by = _lines(_code(mutations[name])) if name in mutations else NO_MUTATION[name]
        yield f"| {name} | {what} | {by} |"
    yield ""


def _mutations() -> Iterator[str]:
    yield f"## The {len(MUTATIONS)} mutations"
    yield ""
    yield "| mutation | what goes wrong with it | in | test that turns red |"
    yield "|---|---|---|---|"
    for each in MUTATIONS:
        file = each.file.removeprefix("layers/dispatcher/dispatcher/")
        yield f"| `{each.name}` | {_text(each.puts_back)} | `{file}` | {_lines(map(_test, each.caught_by))} |"
    yield ""


def _test(reference: str) -> str:
    path, _, name = reference.partition("::")
    file = path.removeprefix("tests/").removesuffix(".py")
    name = name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return f"[{file}](../{path}): {name}"


def _code(names: Iterable[str]) -> Iterator[str]:
    return (f"`{name}`" for name in names)


def _lines(parts: Iterable[str]) -> str:
    return "<br>".join(parts)


def _text(text: str) -> str:
    return text.replace("|", "\\|")
