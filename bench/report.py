"""The results as tables, for the terminal and for the documentation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Series

VERDICTS = {True: "✓", False: "✗", None: ""}
COLOURS = {True: "green", False: "red", None: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One contender of a figure; `ratio` is the dispatcher's value divided by this one."""

    name: str
    median: str
    spread: str
    ratio: str = ""
    ratios: str = ""
    """The lowest and the highest of the rounds, for the reference of the target."""
    target: str = ""


def number(value: float) -> str:
    """Write a number with three significant digits, or all digits before the point."""
    if value == int(value) or abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"


def lines(figure: Figure) -> Iterator[Line]:
    """Yield the dispatcher's line, then a line for each reference; the target stands where it is compared."""
    verdict = f"{figure.target or ''} {VERDICTS[figure.met]}".strip()
    by_ratio = figure.target is not None and figure.target.of == "ratio" and figure.reference is not None
    yield _line(figure.value, target="" if by_ratio else verdict)
    for reference in figure.references:
        if reference is figure.reference:
            ratio, target = figure.ratio, verdict if by_ratio else ""
            yield _line(reference, ratio=ratio, ratios=figure.ratios, target=target)
        else:
            yield _line(reference, ratio=_divided(figure.value.median, reference.median))


def show(console: Console, figures: Sequence[Figure]) -> None:
    """Print all figures."""
    for figure in figures:
        console.print(f"\n[bold]{figure.row}[/]: {figure.what}, {figure.unit}")
        table = Table.grid(padding=(0, 2))
        for width, justify in ((28, "left"), (8, "right"), (20, "left"), (6, "right"), (10, "left")):
            table.add_column(min_width=width, justify="right" if justify == "right" else "left")
        for place, line in enumerate(lines(figure)):
            style = COLOURS[figure.met] if line.target else "" if place == 0 else "dim"
            table.add_row(f"  {line.name}", line.median, line.spread, line.ratio, line.target, style=style)
        console.print(table)
        for note in (*figure.notes, *figure.missing):
            console.print(f"  {note}", style="dim", markup=False)


def markdown(figures: Sequence[Figure]) -> str:
    """Return the table for the documentation."""
    made = ["| | median | lowest to highest | ratio | target |", "|---|---|---|---|---|"]
    for figure in figures:
        made.append(f"| **`{figure.row}`**: {figure.what}, {figure.unit} | | | | |")
        made += [
            f"| {line.name} | {line.median} | {line.spread} | {line.ratio}{f' ({line.ratios})' if line.ratios else ''}"
            f" | {line.target} |"
            for line in lines(figure)
        ]
        made += [f"| {note} | | | | |" for note in (*figure.notes, *figure.missing)]
    return "\n".join(made)


def _line(series: Series, *, ratio: float | None = None, ratios: Sequence[float] = (), target: str = "") -> Line:
    return Line(
        name=series.name,
        median=number(series.median),
        spread=_spread(series.samples),
        ratio="" if ratio is None else number(ratio),
        ratios=_spread(ratios),
        target=target,
    )


def _spread(samples: Sequence[float]) -> str:
    """Return the lowest and the highest sample; nothing for one."""
    return f"{number(min(samples))} to {number(max(samples))}" if len(samples) > 1 else ""


def _divided(value: float, reference: float) -> float | None:
    return value / reference if reference else None
