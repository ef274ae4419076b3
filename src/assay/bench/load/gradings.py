"""`grading --served`: submissions of INGInious' tasks to a real server, whose sandboxes are warm.

One learner hands in by HTTP, waits for the result, and hands in again, task by task in turns.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.grading import ANSWERS, MOST_SECONDS, TUTORIAL
from assay.bench.load.connection import Address, Http, Lost
from assay.bench.load.control import LoadFailed
from assay.bench.load.delays import Way, handed_in
from assay.bench.load.setting import Setting
from assay.bench.load.target import Target

_COURSE: Final = "tutorial"
_FIRST: Final = 3
"""Of each task: they read from the disk, and their rooms are made."""


async def measure(setting: Setting, *, repeats: int) -> Report:
    """Start a server, and hand in `repeats` times for each task. Raises LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="assay-gradings-") as folder:
        course = Path(folder) / _COURSE
        shutil.copytree(TUTORIAL, course)
        async with setting.target({"python": 2}, options=("--courses", str(course))) as target:
            ways = await _hand_in(setting, target, repeats)
    figures = [figure for name, found in ways.items() for figure in _figures(name, found)]
    if not figures:
        raise LoadFailed("nothing was graded before the end")
    return Report(name="grading", title="Gradings by a server", beside="", figures=tuple(figures))


async def _hand_in(setting: Setting, target: Target, repeats: int) -> dict[str, list[Way]]:
    ways: dict[str, list[Way]] = {name: [] for name in ANSWERS}
    http = Http(Address(target.url, target.token))
    try:
        for done in range(repeats + _FIRST):
            for name, answer in ANSWERS.items():
                if setting.stopped:
                    return {name: found for name, found in ways.items() if found}
                way = await _one(http, name, answer)
                if done >= _FIRST:
                    ways[name].append(way)
            whole = repeats + _FIRST
            setting.told({"what": "submissions", "done": done + 1, "whole": whole})
    except Lost as error:
        raise LoadFailed(f"the server was lost: {error}") from error
    finally:
        http.close()
    return ways


async def _one(http: Http, task: str, answer: str) -> Way:
    body = msgspec.json.encode({"learner": "ada", "answers": {"question1": answer}})
    return await handed_in(http, f"/courses/{_COURSE}/tasks/{task}/submissions", body)


def _figures(name: str, ways: Sequence[Way]) -> tuple[Figure, Figure]:
    most = MOST_SECONDS[name]
    whole = Distribution.of(way.whole for way in ways)
    check = Check(
        promise=f"p50 ≤ {most * 1000:g} ms", value=whole.median, limit=most, unit=Unit.SECONDS
    )
    return (
        _figure(f"{name}, request to result", whole, check),
        _figure("of it waiting for sandboxes", _booting(ways)),
    )


def _booting(ways: Sequence[Way]) -> Distribution:
    delays: list[Mapping[str, float]] = [way.delays for way in ways]
    return Distribution.of(each["booting"] for each in delays)


def _figure(name: str, measured: Distribution, *checks: Check) -> Figure:
    return Figure(driver="server", name=name, unit=Unit.SECONDS, measured=measured, checks=checks)
