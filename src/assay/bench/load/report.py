"""What a profile found: promises, latencies, series and tables; as values, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.bench.figures import Check, Unit
from assay.bench.load.journal import NEVER, Result, percentile, summary

Points = tuple[tuple[float, float], ...]
"""Seconds since the beginning, and a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Seconds of many of one thing; those that failed are not among them."""

    name: str
    samples: tuple[float, ...]
    at: tuple[float, ...] = ()
    """When each was to begin, if that is known: seconds since the beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """Lines over time."""

    name: str
    unit: str
    lines: Mapping[str, Points]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of text; the first column says what."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadReport:
    """What one profile found."""

    profile: str
    title: str
    settings: Mapping[str, str]
    checks: tuple[Check, ...]
    latencies: tuple[Latency, ...] = ()
    series: tuple[Series, ...] = ()
    tables: tuple[Table, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    stopped: bool = False
    """Somebody ended it early, so that nothing is promised of it."""

    @property
    def kept(self) -> bool:
        """Whether every promise in it holds."""
        return not self.stopped and all(check.kept for check in self.checks)


def as_data(report: LoadReport) -> dict[str, Any]:
    """For JSON: base units (seconds, bytes)."""
    return {
        "profile": report.profile,
        "title": report.title,
        "settings": dict(report.settings),
        "kept": report.kept,
        "stopped": report.stopped,
        "checks": [_check(check) for check in report.checks],
        "latencies": [{"name": each.name, **summary(each.samples)} for each in report.latencies],
        "series": [_series(each) for each in report.series],
        "tables": [
            {"name": each.name, "head": list(each.head), "rows": [list(row) for row in each.rows]}
            for each in report.tables
        ],
        "errors": dict(report.errors),
        "remarks": list(report.remarks),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "promise": check.promise,
        "value": check.value,
        "limit": check.limit,
        "unit": str(check.unit),
        "kept": check.kept,
    }


def _series(series: Series) -> dict[str, Any]:
    lines = {name: [list(point) for point in points] for name, points in series.lines.items()}
    return {"name": series.name, "unit": series.unit, "lines": lines}


def at_most(promise: str, value: float, limit: float, unit: Unit) -> Check:
    """A promise that holds up to a limit."""
    return Check(promise=promise, value=value, limit=limit, unit=unit)


def at_least(promise: str, value: float, limit: float, unit: Unit) -> Check:
    """A promise that holds from a limit on."""
    return Check(promise=promise, value=value, limit=limit, unit=unit, at_least=True)


def none_of(promise: str, count: int) -> Check:
    """A promise that something does not happen."""
    return Check(promise=promise, value=count, limit=0, unit=Unit.COUNT)


def start_latency(result: Result) -> Latency:
    """From the moment that each execution was scheduled for to the first byte of its output."""
    journal = result.executions
    good = [
        (scheduled, first - scheduled)
        for scheduled, first in zip(journal.scheduled, journal.first, strict=True)
        if first != NEVER
    ]
    return Latency(
        name="start: from its scheduled moment to its first output byte",
        samples=tuple(seconds for _, seconds in good),
        at=tuple(at for at, _ in good),
    )


def over_time(latency: Latency, percents: Sequence[float], *, steps: int = 60) -> Series:
    """How percentiles change in the course of a run."""
    if not latency.at:
        return Series(name=latency.name, unit="s", lines={})
    width = max(max(latency.at) / steps, 1.0)
    slots: dict[int, list[float]] = {}
    for at, seconds in zip(latency.at, latency.samples, strict=True):
        slots.setdefault(int(at / width), []).append(seconds)
    lines = {
        f"p{percent:g}": tuple(
            ((slot + 0.5) * width, percentile(sorted(samples), percent))
            for slot, samples in sorted(slots.items())
        )
        for percent in percents
    }
    return Series(name=f"{latency.name}, over time", unit="s", lines=lines)
