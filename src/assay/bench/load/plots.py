"""Pictures of a report, as SVG: what share of requests took how long, and what changed over time.

Needs matplotlib, which is optional.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from assay.bench.load.report import Latency, LoadReport, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISSING: Final = "pictures need matplotlib: pip install 'assay[plots]'"
_WIDTH, _HEIGHT = 7.5, 3.2
_MOST_POINTS: Final = 400


def pictures(report: LoadReport) -> list[tuple[str, str]] | None:
    """Names and SVG of all pictures; None without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    found = []
    latencies = [each for each in report.latencies if each.samples]
    if latencies:
        found.append(("how long it took", _drawn(_distribution(Figure, latencies))))
    for series in report.series:
        if any(series.lines.values()):
            found.append((series.name, _drawn(_over_time(Figure, series))))
    return found


def _distribution(kind: type[Figure], latencies: Sequence[Latency]) -> Figure:
    """The share that took longer, both axes by powers of ten: the tail is what matters."""
    figure = kind(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    for latency in latencies:
        ordered = sorted(latency.samples)
        count = len(ordered)
        picked = sorted({round(count * (1 - 10 ** (-i / 60))) for i in range(_MOST_POINTS)})
        points = [(ordered[i] * 1000, 1 - i / count) for i in picked if i < count]
        axes.plot(*zip(*points, strict=True), label=latency.name, drawstyle="steps-post")
    axes.set(xscale="log", yscale="log", xlabel="milliseconds", ylabel="share that took longer")
    return _finished(figure, axes)


def _over_time(kind: type[Figure], series: Series) -> Figure:
    figure = kind(figsize=(_WIDTH, _HEIGHT), layout="constrained")
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
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize="small", frameon=False)
    return figure


def _drawn(figure: Figure) -> str:
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context({"svg.hashsalt": "assay", "svg.fonttype": "none", "font.size": 9}):
        figure.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
