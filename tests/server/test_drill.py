"""Server, workers, database and sandboxes are killed at random: everything is graded once, rightly.

CI tries a few; the whole is `pytest tests/server/test_drill.py -s --submissions 1000`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from drill import EACH, KINDS, PATH, Drill, Site, site
from tests.storage.postgres import Postgres, postgres_of_tests

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(3600)]

MOST_IN_A_HURRY = 100
"""Submissions among which so much is killed that hardly anything is graded meanwhile."""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_of_tests() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def alive(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    own = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    async with site(own) as made:
        yield made


async def test_whatever_is_killed_everything_is_graded_once_and_rightly(
    alive: Site, pytestconfig: pytest.Config
) -> None:
    asked = pytestconfig.getoption("--drill-seed")
    seed = random.randrange(2**32) if asked is None else asked
    count = pytestconfig.getoption("--submissions")
    pauses = (0.2, 1.5) if count <= MOST_IN_A_HURRY else (0.5, 4.0)
    drill = Drill(site=alive, submissions=count, seed=seed, pauses=pauses)
    print(f"\nseed {seed}, {alive.database}")
    began = time.monotonic()
    found = await drill.run()
    took = time.monotonic() - began
    attempts = Counter(each["attempts"] for each in found)
    print(f"{len(found)} in {took:.0f} s; killed {dict(drill.killed)}; attempts"
          f" {dict(sorted(attempts.items()))}; asked again {drill.asked_again}")  # fmt: skip
    assert {each["id"] for each in found} == set(drill.deserved), (
        "none is lost, none is there twice"
    )
    assert len(found) == drill.submissions
    async with aiohttp.ClientSession(alive.front.url) as http:
        await _require_right_grades(http, drill)
        await _require_nobody_charged(http, drill, found)
    assert "Traceback" not in alive.front.log, alive.front.log[-3000:]


async def _require_right_grades(http: aiohttp.ClientSession, drill: Drill) -> None:
    wrong = []
    for name, kind in drill.deserved.items():
        said = await _answer(http, f"/api/v1/submissions/{name}")
        result = said["result"]
        verdicts = tuple(test["verdict"] for part in result["parts"] for test in part["tests"])
        if (said["state"], result["grade"], verdicts) != ("done", kind.grade, kind.verdicts):
            wrong.append(f"{kind.name}: {json.dumps(said)}")
    assert not wrong, "\n".join(wrong)


async def _require_nobody_charged(
    http: aiohttp.ClientSession, drill: Drill, found: list[dict[str, Any]]
) -> None:
    """Each has as many as were handed in, may hand in as many as the task takes, and not one more.

    What was asked for again and again is the same submission.
    """
    had = Counter(each["learner"] for each in found)
    assert had == Counter(drill.learner(number) for number in range(drill.submissions))
    for learner, count in [*had.items()][-3:]:
        body = {"learner": learner, "files": {"add.py": KINDS[0].program}}
        said = []
        for _ in range(EACH - count + 1):
            async with http.post(PATH, json=body) as answer:
                said.append(answer.status)
        assert said == [202] * (EACH - count) + [400], (learner, said)


async def _answer(http: aiohttp.ClientSession, path: str) -> Any:
    """Nobody is killed any more, but the last ones may still be on their way back."""
    for _ in range(300):
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with http.get(path) as answer:
                if answer.status == 200:
                    return await answer.json()
        await asyncio.sleep(0.1)
    raise AssertionError(path)
