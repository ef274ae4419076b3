"""`delays`: the five delays of the thesis, as results of a real server say them, and the whole.

Learners at the same time hand in by HTTP, wait for their results, and hand in again; what a learner
sees from the request to the result stands beside the five, which have to explain it.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.grading import TUTORIAL
from assay.bench.load.connection import Address, Http, Lost
from assay.bench.load.control import LoadFailed
from assay.bench.load.setting import Setting
from assay.bench.load.target import Target

FIVE: Final = ("sending", "waiting", "booting", "grading", "response")
_TASK: Final = "five_cases"
_PATH: Final = f"/courses/bench/tasks/{_TASK}/submissions"
_PROGRAM: Final = "import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"
_UNEXPLAINED: Final = 0.1
_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much."""

    learners: int = 8
    """At the same time."""
    submissions: int = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One submission's way, in seconds."""

    delays: dict[str, float]
    whole: float
    """As its learner sees it: from the request until the result is there."""

    @property
    def unexplained(self) -> float:
        """What none of the five is: HTTP, and the client itself."""
        return max(0.0, self.whole - sum(self.delays.values()))


async def measure(setting: Setting, plan: Plan) -> Report:
    """Start a server, and let learners hand in. Raises LoadFailed."""
    with tempfile.TemporaryDirectory(prefix="assay-delays-") as folder:
        course = Path(folder) / "bench"
        shutil.copytree(TUTORIAL / _TASK, course / _TASK)
        (course / "course.toml").write_text('title = "A benchmark"\n')
        async with setting.target({"python": 4}, options=("--courses", str(course))) as target:
            ways = await _hand_in(setting, target, plan)
    if not ways:
        raise LoadFailed("nothing was graded before the end")
    return report_of(ways, plan)


async def _hand_in(setting: Setting, target: Target, plan: Plan) -> list[Way]:
    numbers, ways = itertools.count(), list[Way]()

    async def learner(name: int) -> None:
        http = Http(Address(target.url, target.token))
        try:
            while not setting.stopped and next(numbers) <= plan.submissions:
                ways.append(await _one(http, f"learner-{name}"))
                told = {"what": "submissions", "done": len(ways), "whole": plan.submissions}
                setting.told(told)
        except Lost as error:
            raise LoadFailed(f"the server was lost: {error}") from error
        finally:
            http.close()

    async with asyncio.TaskGroup() as group:
        for name in range(plan.learners):
            group.create_task(learner(name))
    return ways[1:]  # the first one reads from the disk


async def _one(http: Http, learner: str) -> Way:
    body = msgspec.json.encode({"learner": learner, "files": {"sum.py": _PROGRAM}})
    return await handed_in(http, _PATH, body)


async def handed_in(http: Http, path: str, body: bytes) -> Way:
    """One submission, which is right, from the request to its result. Raises LoadFailed."""
    began = time.perf_counter()
    made = await _asked(http, "POST", path, body)
    found = made
    while found.get("result") is None:
        where = f"/submissions/{made['id']}?waitSeconds={_SECONDS}"
        found = await _asked(http, "GET", where)
    whole = time.perf_counter() - began
    result = found["result"]
    if result["grade"] != 100:
        said = f"{result['detail']} {result['stderr']}".strip()
        raise LoadFailed(f"a right program has the grade {result['grade']}: {said}")
    delays = {name: result["delays"][f"{name}Ms"] / 1000 for name in FIVE}
    return Way(delays=delays, whole=whole)


async def _asked(http: Http, method: str, path: str, body: bytes | None = None) -> Any:
    status, answer = await http.request(method, path, body)
    if status >= 300:
        raise LoadFailed(f"{method} {path}: {status}: {answer.decode(errors='replace')[:200]}")
    return msgspec.json.decode(answer)


def report_of(ways: Sequence[Way], plan: Plan) -> Report:
    """Percentiles of each, and whether they explain the whole."""
    return Report(
        name="delays",
        title=f"The five delays of {len(ways)} submissions, of {plan.learners} learners at the same"
        " time",
        beside="",
        figures=tuple(_figures(ways)),
    )


def _figures(ways: Sequence[Way]) -> Iterator[Figure]:
    for name in FIVE:
        yield _figure(name, [way.delays[name] for way in ways])
    yield _figure("the whole, as a learner sees it", [way.whole for way in ways])
    unexplained = Distribution.of(way.unexplained for way in ways)
    whole = Distribution.of(way.whole for way in ways)
    check = Check(
        promise="median ≤ 10 % of the whole", value=unexplained.median / whole.median,
        limit=_UNEXPLAINED,
    )  # fmt: skip
    yield _figure("of it in none of the five", unexplained.samples, check)


def _figure(name: str, samples: Sequence[float], *checks: Check) -> Figure:
    return Figure(
        driver="server", name=name, unit=Unit.SECONDS, measured=Distribution.of(samples),
        checks=checks,
    )  # fmt: skip
