"""The tables as one picture, as SVG. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from assay.bench.amounts import amount
from assay.bench.drawing import drawn, new_figure, without_frame
from assay.bench.figures import Report, Unit
from assay.bench.startup.cycles import PHASES
from assay.bench.startup.findings import (
    IDLE,
    PROCESSES,
    WEIGHED,
    crowds_name,
    cycles_name,
    workload_names,
)
from assay.bench.startup.tables import amounts, of_one

_WIDTH: Final = 9.0
_BAR: Final = 0.2
"""Inches."""
_SCALES: Final = {Unit.SECONDS: (1e3, "milliseconds"), Unit.BYTES: (1e-6, "MB")}
_Rows = Sequence[tuple[str, Mapping[str, float]]]


def picture(report: Report) -> str:
    """Draw times, memory and lives, one below the other. Raises Unavailable without matplotlib."""
    counts = amounts(report)
    idle = {crowds_name(count, IDLE): f"{count}" for count in counts}
    lives = {cycles_name(workload_names()[0], phase): phase for phase in PHASES}
    panels = (list(of_one(report, list(idle))), _weights(report), list(of_one(report, list(lives))))
    heights = [_height(panels[0], len(idle)), _height(panels[1], 2), _height(panels[2], 1)]
    figure = new_figure(_WIDTH, sum(heights))
    first, second, third = figure.subplots(3, 1, height_ratios=heights)
    _grouped(first, panels[0], idle, Unit.SECONDS)
    first.set_title("requested at once: until all are idle", loc="left")
    _grouped(second, panels[1], {WEIGHED: "all in all", PROCESSES: "its processes"}, Unit.BYTES)
    second.set_title("memory of each idle sandbox, of as many as were measured", loc="left")
    _stacked(third, panels[2], lives)
    third.set_title(f"life cycle with {workload_names()[0]}", loc="left")
    return drawn(figure)


def _weights(report: Report) -> list[tuple[str, Mapping[str, float]]]:
    """Of the largest number of each: some can't have as many as others."""
    found: dict[str, dict[str, float]] = {}
    for count in amounts(report):
        names = {crowds_name(count, what): what for what in (WEIGHED, PROCESSES)}
        for driver, medians in of_one(report, list(names)):
            found.setdefault(driver, {}).update(
                {names[name]: median for name, median in medians.items()}
            )
    return list(found.items())


def _height(rows: _Rows, bars: int) -> float:
    return 1.0 + len(rows) * (0.12 + _BAR * max(1, bars))


def _grouped(axes: Any, rows: _Rows, labels: Mapping[str, str], unit: Unit) -> None:
    """A bar for each figure, by powers of ten: technologies differ by several."""
    scale, shown = _SCALES[unit]
    height = 0.85 / max(1, len(labels))
    for number, (name, label) in enumerate(labels.items()):
        offset = (number - (len(labels) - 1) / 2) * height
        bars = [(row + offset, found[name]) for row, (_, found) in enumerate(rows)
                if found.get(name, 0.0) > 0]  # fmt: skip
        if bars:
            places, values = zip(*bars, strict=True)
            axes.barh(places, [value * scale for value in values], height * 0.9, label=label)
        for place, value in bars:
            axes.text(
                value * scale, place, f" {amount(value, unit)}", va="center", fontsize="x-small"
            )
    axes.set_xscale("log")
    _named(axes, rows, shown)


def _stacked(axes: Any, rows: _Rows, labels: Mapping[str, str]) -> None:
    ends = [0.0] * len(rows)
    for name, label in labels.items():
        values = [found.get(name, 0.0) * 1e3 for _, found in rows]
        axes.barh(range(len(rows)), values, left=ends, height=0.7, label=label)
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    for row, end in enumerate(ends):
        axes.text(end, row, f" {amount(end / 1e3, Unit.SECONDS)}", va="center", fontsize="x-small")
    _named(axes, rows, "milliseconds")


def _named(axes: Any, rows: _Rows, unit: str) -> None:
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    without_frame(axes)
    axes.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
