"""One picture of profiles, as SVG: bars whose parts are microseconds. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from assay.bench.drawing import drawn, new_figure, without_frame
from assay.bench.profile.findings import DRIVERS_THREADS, Profile, Way

_WIDTH: Final = 9.0
_SMALL: Final = 0.01
"""Parts below this share of the longest bar are drawn together."""
_OTHERS: Final = "others"
_Parts = Callable[[Way], Mapping[str, float]]


def picture(profiles: Sequence[Profile]) -> str:
    """Draw them, one below the other for each way. Raises Unavailable without matplotlib."""
    names = list(dict.fromkeys(way.name for profile in profiles for way in profile.ways))
    bars = sum(len(profile.ways) for profile in profiles)
    figure = new_figure(_WIDTH, 2 * (1.2 + 0.34 * bars))
    above, below = figure.subplots(2, 1)
    _bars(above, profiles, names, lambda way: way.clock)
    above.set_title("one at a time, on the clock: from the request to the answer", loc="left")
    _bars(below, profiles, names, _without_drivers_threads)
    below.set_title("processor's time of the server, the driver's threads left out", loc="left")
    return drawn(figure)


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
    without_frame(axes)
    axes.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1.05, 0.5))


def _value(found: Mapping[str, float], part: str, shown: Sequence[str]) -> float:
    if part != _OTHERS:
        return found.get(part, 0.0)
    return sum(value for name, value in found.items() if name not in shown)
