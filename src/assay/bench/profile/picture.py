"""One picture of profiles, as SVG: bars whose parts are microseconds. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from assay.bench.load.plots import MISSING
from assay.bench.profile.findings import DRIVERS_THREADS, Profile, Way
from assay.domain.errors import Unavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH: Final = 9.0
_SMALL: Final = 0.01
"""Parts below this share of the longest bar are drawn together."""
_OTHERS: Final = "others"
_Parts = Callable[[Way], Mapping[str, float]]


def picture(profiles: Sequence[Profile]) -> str:
    """Draw them, one below the other for each way. Raises Unavailable without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise Unavailable(MISSING) from None
    names = list(dict.fromkeys(way.name for profile in profiles for way in profile.ways))
    bars = sum(len(profile.ways) for profile in profiles)
    figure = Figure(figsize=(_WIDTH, 2 * (1.2 + 0.34 * bars)), layout="constrained")
    above, below = figure.subplots(2, 1)
    _bars(above, profiles, names, lambda way: way.clock)
    above.set_title("one at a time, on the clock: from the request to the answer", loc="left")
    _bars(below, profiles, names, _without_drivers_threads)
    below.set_title("processor's time of the server, the driver's threads left out", loc="left")
    return _drawn(figure)


def _without_drivers_threads(way: Way) -> Mapping[str, float]:
    """They are another story, and would leave no room for this one."""
    return {name: spent for name, spent in way.server.items() if name != DRIVERS_THREADS}


def _bars(axes: Any, profiles: Sequence[Profile], names: Sequence[str], parts: _Parts) -> None:
    rows = [
        (f"{name}\n{profile.name}, {profile.driver}", parts(way))
        for name in names
        for profile in profiles
        for way in profile.ways
        if way.name == name
    ]
    longest = max(sum(found.values()) for _, found in rows)
    parts_of_all = dict.fromkeys(part for _, found in rows for part in found)
    shown = [
        part for part in parts_of_all
        if max(found.get(part, 0.0) for _, found in rows) > _SMALL * longest
    ]  # fmt: skip
    ends = [0.0] * len(rows)
    for index, part in enumerate([*shown, _OTHERS]):
        values = [_value(found, part, shown) / 1000 for _, found in rows]
        if not any(values):
            continue
        axes.barh(
            range(len(rows)), values, left=ends, height=0.7, label=part,
            color=f"C{index % 10}", hatch="//" if index >= 10 else None,
        )  # fmt: skip
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    for row, end in enumerate(ends):
        axes.text(end, row, f" {end:.2f}", va="center", fontsize="small")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize="small")
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1.05, 0.5))


def _value(found: Mapping[str, float], part: str, shown: Sequence[str]) -> float:
    if part != _OTHERS:
        return found.get(part, 0.0)
    return sum(value for name, value in found.items() if name not in shown)


def _drawn(figure: Figure) -> str:
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context({"svg.hashsalt": "assay", "svg.fonttype": "none", "font.size": 9}):
        figure.savefig(target, format="svg", metadata={"Date": None}, facecolor="white")
    text = target.getvalue()
    return text[text.index("<svg") :]
