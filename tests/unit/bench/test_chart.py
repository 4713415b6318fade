"""The picture and the page that the bench writes."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.__main__ import BEGIN, END, publish
from bench.chart import LEFT, MOST, PLOT, bars, draw
from bench.figures import Figure, Series, Target
from bench.report import lines

SVG = "{http://www.w3.org/2000/svg}"


def figure(row: str, value: float, reference: float, target: Target, name: str = "peer") -> Figure:
    """Return a figure with one sample and one reference."""
    return Figure(
        row=row,
        what=f"what {row} does",
        unit="commands/s",
        value=Series(name="dispatcher", samples=(value,)),
        references=(Series(name=name, samples=(reference,)),),
        against=name,
        target=target,
    )


FLUSH = figure("flush", 5000, 10_000, Target(of="ratio", at="least", limit=0.6))
LATENCY = figure("latency", 4, 2, Target(of="ratio", at="most", limit=2.5))


def test_a_bar_is_the_speed_in_times_of_the_reference() -> None:
    """For a time the speed is the inverse: twice as long is half as fast."""
    flush, latency = bars([FLUSH, LATENCY])

    assert (flush.speed, flush.target) == (0.5, 0.6)
    assert (latency.speed, latency.target) == (0.5, 0.4)


def test_the_picture_is_xml_with_a_bar_for_each_row() -> None:
    """Names from peers are escaped; a bar that is too long is cut."""
    fast = figure("bulk", 9000, 10, Target(of="ratio", at="least", limit=0.5), name="<raw> & fast")

    document = ET.fromstring(draw([FLUSH, LATENCY, fast]))  # noqa: S314 - it was made here

    widths = [int(each.attrib["width"]) for each in document.iter(f"{SVG}rect")]
    assert widths == [round(PLOT * 0.5 / MOST), round(PLOT * 0.5 / MOST), PLOT]
    assert any("<raw> & fast" in (each.text or "") for each in document.iter(f"{SVG}text"))
    assert all(int(each.attrib["x"]) == LEFT for each in document.iter(f"{SVG}rect"))


def test_a_row_without_its_reference_has_no_bar() -> None:
    """There is nothing to compare with."""
    alone = Figure(
        row="flush",
        what="alone",
        unit="commands/s",
        value=Series(name="dispatcher", samples=(1,)),
        target=Target(of="ratio", at="least", limit=0.5),
    )

    assert bars([alone]) == []


def test_a_table_has_the_value_the_reference_the_ratio_and_the_verdict() -> None:
    """One line a contender; the target stands beside the ratio that it is for."""
    ours, peer = lines(FLUSH)

    assert (ours.name, ours.median, ours.target) == ("dispatcher", "5,000", "")
    assert (peer.name, peer.median, peer.ratio, peer.target) == ("peer", "10,000", "0.5", "≥ 0.6 × ✗")


def test_a_table_shows_how_far_the_rounds_are_apart() -> None:
    """A reference that is three times as fast in one of three rounds makes a verdict worth little."""
    value = Series(name="dispatcher", samples=(5, 5, 5))
    references = (Series(name="peer", samples=(10, 30, 10)),)

    _, peer = lines(replace(FLUSH, value=value, references=references))

    assert (peer.spread, peer.ratio, peer.ratios) == ("10 to 30", "0.5", "0.167 to 0.5")


def test_a_target_without_its_reference_stands_beside_the_value() -> None:
    """It is neither met nor missed."""
    (ours,) = lines(replace(FLUSH, references=()))

    assert ours.target == "≥ 0.6 ×"


def test_publishing_replaces_only_the_marked_part_of_the_page(tmp_path: Path) -> None:
    """What people wrote around it stays; a second time changes nothing."""
    page = tmp_path / "performance.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\n## Written by people\n", encoding="utf-8")
    results: dict[str, Any] = {
        "at": "2026-11-01",
        "rounds": 3,
        "machine": {"cores": 2},
        "versions": {"python": "3.13"},
        "figures": [],
    }

    publish(results, [FLUSH], tmp_path)
    once = page.read_text(encoding="utf-8")
    publish(results, [FLUSH], tmp_path)

    assert page.read_text(encoding="utf-8") == once
    assert once.startswith(f"# Title\n\n{BEGIN}\nMeasured 2026-11-01, 3 rounds: cores 2; python 3.13.\n")
    assert once.endswith(f"{END}\n\n## Written by people\n")
    assert "old" not in once
    assert (tmp_path / "performance.svg").read_text(encoding="utf-8") == draw([FLUSH])
