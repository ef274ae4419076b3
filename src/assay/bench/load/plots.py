"""Pictures of a report, as SVG: what share of requests took how long, and what changed over time.

Needs matplotlib, which is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from assay.bench.drawing import drawn, new_figure, without_frame
from assay.bench.load.report import Latency, LoadReport, Series
from assay.domain.errors import Unavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 7.5, 3.2
_MOST_POINTS: Final = 400


def pictures(report: LoadReport) -> list[tuple[str, str]] | None:
    """Names and SVG of all pictures; None without matplotlib."""
    try:
        new_figure(_WIDTH, _HEIGHT)
    except Unavailable:
        return None
    found = []
    latencies = [each for each in report.latencies if each.samples]
    if latencies:
        found.append(("how long it took", drawn(_distribution(latencies))))
    for series in report.series:
        if any(series.lines.values()):
            found.append((series.name, drawn(_over_time(series))))
    return found


def _distribution(latencies: Sequence[Latency]) -> Figure:
    """The share that took longer, both axes by powers of ten: the tail is what matters."""
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    for latency in latencies:
        ordered = sorted(latency.samples)
        count = len(ordered)
        picked = sorted({round(count * (1 - 10 ** (-i / 60))) for i in range(_MOST_POINTS)})
        points = [(ordered[i] * 1000, 1 - i / count) for i in picked if i < count]
        axes.plot(*zip(*points, strict=True), label=latency.name, drawstyle="steps-post")
    axes.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share that took longer")
    return _finished(figure, axes)


def _over_time(series: Series) -> Figure:
    figure = new_figure(_WIDTH, _HEIGHT)
    axes = figure.subplots()
    scale, unit = {"s": (1000, "ms"), "B": (1e-6, "MB")}.get(series.unit, (1, series.unit))
    for name, points in series.lines.items():
        if points:
            axes.plot([at for at, _ in points], [value * scale for _, value in points], label=name)
    axes.set(xlabel="seconds", ylabel=unit)
    axes.set_ylim(bottom=0)
    return _finished(figure, axes)


def _finished(figure: Figure, axes: Any) -> Figure:
    axes.grid(visible=True, alpha=0.3)
    without_frame(axes)
    axes.legend(fontsize="small", frameon=False)
    return figure
