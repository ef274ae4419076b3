"""Measured numbers, and whether a promise is kept; nothing here measures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any


class Unit(StrEnum):
    """What the numbers of a figure are."""

    SECONDS = "s"
    BYTES = "B"
    BYTES_PER_SECOND = "B/s"
    COUNT = "count"
    TIMES = "×"
    CORES = "cores"
    PER_SECOND = "/s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """Samples of one quantity, in the order in which they were taken; at least one."""

    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: Iterable[float]) -> Distribution:
        """Keep the samples."""
        return cls(samples=tuple(samples))

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.samples)

    def percentile(self, percent: float) -> float:
        """The smallest sample that at least so many percent do not exceed."""
        rank = math.ceil(len(self.samples) * percent / 100)
        return sorted(self.samples)[max(rank, 1) - 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One promise: `value` must not be above `limit`, or not below it with `at_least`."""

    promise: str
    """In words, such as "median ≤ 3 × floor"."""
    value: float
    limit: float
    unit: Unit = Unit.TIMES
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether it holds."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One quantity of one driver, what it stands beside, and what was promised of it."""

    driver: str
    name: str
    unit: Unit
    measured: Distribution
    beside: Distribution | None = None
    checks: tuple[Check, ...] = ()
    """Empty where nothing is promised."""

    def tail(self, percent: float) -> float:
        """What so many percent of the samples reach or do better; for a rate, more is better."""
        return self._tail(self.measured, percent)

    def tail_beside(self, percent: float) -> float:
        """The same of what it stands beside, which must be there."""
        assert self.beside is not None
        return self._tail(self.beside, percent)

    def _tail(self, distribution: Distribution, percent: float) -> float:
        if self.unit is Unit.BYTES_PER_SECOND:
            return -Distribution.of(-sample for sample in distribution.samples).percentile(percent)
        return distribution.percentile(percent)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What could not be measured, and why."""

    driver: str
    what: str
    """Such as "100 at once"; empty: nothing of the driver."""
    kind: str
    """In two words, for a table: "resource limit", "failed", "left out"."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The figures of one benchmark."""

    name: str
    title: str
    beside: str
    """What the figures stand beside, such as "floor"."""
    figures: tuple[Figure, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether every promise in it holds."""
        return all(check.kept for figure in self.figures for check in figure.checks)


def at_most_times(
    factor: float,
    measured: Distribution,
    floor: Distribution,
    *,
    percent: float = 50,
    beside: str = "floor",
) -> Check:
    """A percentile of what was measured against the floor's median."""
    value = measured.median if percent == 50 else measured.percentile(percent)
    name = "median" if percent == 50 else f"p{percent:g}"
    return Check(
        promise=f"{name} ≤ {factor:g} × {beside}",
        value=value / floor.median,
        limit=factor,
    )


def to_the_fastest(figures: Iterable[Figure]) -> dict[tuple[str, str], float]:
    """By driver and name of a figure: its median, divided by the least of all of that name."""
    known = list(figures)
    least: dict[str, float] = {}
    for figure in known:
        median = figure.measured.median
        least[figure.name] = min(least.get(figure.name, median), median)
    return {
        (figure.driver, figure.name): figure.measured.median / least[figure.name]
        for figure in known
        if least[figure.name] > 0
    }


def as_data(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """For JSON: base units (seconds, bytes), every sample included."""
    return [
        {
            "benchmark": report.name,
            "title": report.title,
            "beside": report.beside,
            "kept": report.kept,
            "figures": _figures(report.figures),
            "remarks": [_remark(remark) for remark in report.remarks],
        }
        for report in reports
    ]


def _remark(remark: Remark) -> dict[str, str]:
    return {
        "driver": remark.driver,
        "what": remark.what,
        "kind": remark.kind,
        "reason": remark.reason,
    }


def _figures(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    ratios = to_the_fastest(figures)
    return [
        _figure(figure) | {"to_the_fastest": ratios.get((figure.driver, figure.name))}
        for figure in figures
    ]


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "driver": figure.driver,
        "name": figure.name,
        "unit": str(figure.unit),
        "median": figure.measured.median,
        "p95": figure.tail(95),
        "p99": figure.tail(99),
        "samples": list(figure.measured.samples),
        "beside": None if figure.beside is None else _beside(figure),
        "checks": [_check(check) for check in figure.checks],
    }


def _beside(figure: Figure) -> dict[str, Any]:
    assert figure.beside is not None
    return {
        "median": figure.beside.median,
        "p95": figure.tail_beside(95),
        "p99": figure.tail_beside(99),
        "samples": list(figure.beside.samples),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "promise": check.promise,
        "value": check.value,
        "limit": check.limit,
        "unit": str(check.unit),
        "kept": check.kept,
    }
