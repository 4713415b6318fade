"""Measurements, their statistics, and the targets that they are compared with."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self


class BenchError(RuntimeError):
    """A measurement could not be made; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one contender measured, one sample a round; `name` says which contender."""

    name: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    def document(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        return {"name": self.name, **spread(self.samples), "samples": list(self.samples)}

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """Read what `document` returned."""
        return cls(name=document["name"], samples=tuple(document["samples"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit for the value itself, or for its ratio to the reference."""

    of: Literal["value", "ratio"]
    at: Literal["least", "most"]
    limit: float

    def met(self, number: float) -> bool:
        """Tell whether a number is within the limit."""
        return number >= self.limit if self.at == "least" else number <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at == 'least' else '≤'} {self.limit:g}{' ×' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measurement beside others; a target for the ratio is for the one that `against` names."""

    row: str
    what: str
    unit: str
    value: Series
    target: Target | None = None
    against: str = ""
    references: tuple[Series, ...] = ()
    missing: tuple[str, ...] = ()
    """Why a peer was not measured, and what to do about it."""
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> Series | None:
        """The one that `against` names; None if it was not measured."""
        return next((each for each in self.references if each.name == self.against), None)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The value divided by the reference, for each round."""
        return ratios(self.value.samples, self.reference.samples) if self.reference else ()

    @property
    def ratio(self) -> float | None:
        """The median of the ratios; None without the reference."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is no target, or nothing to compare with."""
        number = self.value.median if self.target and self.target.of == "value" else self.ratio
        return None if self.target is None or number is None else self.target.met(number)

    def document(self) -> dict[str, Any]:
        """Return it for the JSON file."""
        target = self.target and {"of": self.target.of, "at": self.target.at, "limit": self.target.limit}
        return {
            "row": self.row,
            "what": self.what,
            "unit": self.unit,
            "value": self.value.document(),
            "references": [each.document() for each in self.references],
            "against": self.against,
            "ratio": spread(self.ratios) if self.ratios else None,
            "target": target,
            "met": self.met,
            "missing": list(self.missing),
            "notes": list(self.notes),
        }

    @classmethod
    def read(cls, document: dict[str, Any]) -> Self:
        """Read what `document` returned."""
        return cls(
            row=document["row"],
            what=document["what"],
            unit=document["unit"],
            value=Series.read(document["value"]),
            target=Target(**document["target"]) if document["target"] else None,
            against=document["against"],
            references=tuple(map(Series.read, document["references"])),
            missing=tuple(document["missing"]),
            notes=tuple(document["notes"]),
        )


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Return the median, the lowest and the highest of some samples."""
    return {"median": statistics.median(samples), "low": min(samples), "high": max(samples)}


def ratios(values: Sequence[float], references: Sequence[float]) -> tuple[float, ...]:
    """Divide the values by the references of the same rounds; a reference of zero gives infinity."""
    pairs = zip(values, references, strict=True)
    return tuple(value / reference if reference else math.inf for value, reference in pairs)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of all samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]
