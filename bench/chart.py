"""The picture for the README: how fast the dispatcher is beside the reference of each row, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from bench.figures import Figure
from bench.report import number

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 880, 185, 370, 48, 42, 16
PLOT = WIDTH - LEFT - RIGHT
MOST = 1.5
"""The widest bar, in times of the reference; a longer one is cut there."""
LABELS = {
    "intake": "intake, one a request",
    "bulk": "intake, 1,000 a request",
    "latency": "request → frame",
    "flush": "flush, one agent",
    "fanout": "flush, many agents",
    "first": "first protocol",
}
# Each colour is readable on a white page and on a dark one.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #727a84 } .name { font-weight: 600 }
.bar { fill: #2f81f7 } .line { stroke: #8b949e } .target { stroke: #d29922; stroke-width: 3 }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar: the dispatcher's speed in times of its reference's speed."""

    name: str
    speed: float
    target: float
    label: str


def bars(figures: Sequence[Figure]) -> list[Bar]:
    """Return a bar for each row of LABELS that has a ratio; the first figure of a row stands for it."""
    made: dict[str, Bar] = {}
    for figure in figures:
        target, reference = figure.target, figure.reference
        if figure.row not in LABELS or figure.row in made or not figure.ratio or not target or not reference:
            continue
        slower = target.at == "most"  # seconds, not a rate: the speed is the inverse
        made[figure.row] = Bar(
            name=LABELS[figure.row],
            speed=1 / figure.ratio if slower else figure.ratio,
            target=1 / target.limit if slower else target.limit,
            label=f"{number(figure.value.median)} {figure.unit}; {reference.name}: {number(reference.median)}",
        )
    return list(made.values())


def draw(figures: Sequence[Figure]) -> str:
    """Return the SVG document."""
    drawn = bars(figures)
    bottom = TOP + STEP * len(drawn)
    reference = _x(1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 34}" role="img">',
        "<title>The dispatcher's speed beside the reference of each row</title>",
        f"<style>{STYLE}</style>",
        f'<text x="{reference}" y="{TOP - 22}" text-anchor="middle">1 × the reference</text>',
        f'<line class="line" x1="{reference}" y1="{TOP - 14}" x2="{reference}" y2="{bottom}"/>',
    ]
    for place, bar in enumerate(drawn):
        top = TOP + STEP * place
        end, target = _x(bar.speed), _x(bar.target)
        parts += [
            f'<text class="name" x="0" y="{top + 9}">{escape(bar.name)}</text>',
            f'<rect class="bar" x="{LEFT}" y="{top - 4}" width="{end - LEFT}" height="{BAR}" rx="2"/>',
            f'<line class="target" x1="{target}" y1="{top - 8}" x2="{target}" y2="{top + BAR}"/>',
            f'<text class="name" x="{LEFT + PLOT + 16}" y="{top + 1}">{bar.speed:.2f} ×</text>',
            f'<text x="{LEFT + PLOT + 16}" y="{top + 17}">{escape(bar.label)}</text>',
        ]
    parts += [
        f'<line class="target" x1="{LEFT}" y1="{bottom + 8}" x2="{LEFT}" y2="{bottom + 24}"/>',
        f'<text x="{LEFT + 8}" y="{bottom + 21}">target</text>',
        "</svg>\n",
    ]
    return "\n".join(parts)


def _x(times: float) -> int:
    return LEFT + round(PLOT * min(times, MOST) / MOST)
