"""The generator, as a process of its own, against a server that speaks the protocol as written."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from assay.bench.load.control import Generator, LoadFailed, open_generator
from assay.bench.load.journal import Result, percentile, summary
from assay.bench.load.plan import (
    Claims,
    Closed,
    Fresh,
    Lease,
    Open,
    Program,
    Release,
    Share,
    Storm,
    arrivals,
    choices,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "sdk"))

from wire_server import TOKEN, WireServer

ECHO = Program(name="echo", environment="python", argv=("echo", "{mark}"), expected="{mark}\n")
LONG = Program(name="count", environment="python", argv=("count", "900000"), expected="")


def ignored(progress: dict[str, Any]) -> None:
    pass


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    made = WireServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def generator(server: WireServer) -> AsyncIterator[Generator]:
    async with open_generator(server.url, TOKEN, ignored) as made:
        yield made


async def load(generator: Generator, **changes: Any) -> Result:
    await generator.do(Lease(environment="python", count=5))
    job = {"mix": (Share(program=ECHO),), "rate": 50.0, "seconds": 1.0, **changes}
    result = await generator.do(Open(**job))
    await generator.do(Release())
    return result


# --- when what arrives ---------------------------------------------------------------------------


def test_arrivals_are_as_many_as_wanted_and_the_same_for_the_same_seed() -> None:
    moments = arrivals(120, 10, seed=7)
    assert len(moments) == 1200
    assert moments == sorted(moments) == arrivals(120, 10, seed=7)
    assert moments != arrivals(120, 10, seed=8)
    assert 0 <= moments[0] < moments[-1] <= 10
    gaps = [after - before for before, after in pairwise(moments)]
    # Of a Poisson process a share of exp(-1) is longer than the mean.
    assert 0.3 < sum(gap > 1 / 120 for gap in gaps) / len(gaps) < 0.45


def test_a_mix_is_chosen_from_by_weight() -> None:
    mix = (Share(program=ECHO, weight=3), Share(program=LONG, weight=1))
    found = choices(mix, 4000, seed=1)
    assert 2800 < found.count(0) < 3200


def test_percentiles_are_samples() -> None:
    assert percentile(sorted(range(1000)), 99.9) == 998
    assert summary([3.0, 1.0, 2.0]) == {
        "count": 3, "p50": 2.0, "p90": 3.0, "p95": 3.0, "p99": 3.0, "p99.9": 3.0, "max": 3.0,
    }  # fmt: skip
    assert summary([])["p50"] is None


# --- the generator -------------------------------------------------------------------------------


async def test_each_execution_is_started_when_it_is_due_and_checked(
    generator: Generator, server: WireServer
) -> None:
    result = await load(generator, churn=10.0)
    journal = result.executions
    assert journal.errors == {}
    assert journal.scheduled == arrivals(50, 1.0, seed=1)
    for number, scheduled in enumerate(journal.scheduled):
        assert scheduled <= journal.dispatched[number] <= journal.seated[number]
        assert journal.seated[number] <= journal.first[number]
        assert journal.first[number] <= journal.ended[number] < scheduled + 10
    assert len(result.claims.good) >= 10
    assert len(result.releases.good) >= 10
    assert server.runners == {}
    assert all(program.forgotten for program in server.programs.values())


async def test_a_runner_runs_one_learners_program_at_a_time(
    generator: Generator, server: WireServer
) -> None:
    """More at once than there are learners: who arrives waits for one to be at rest."""
    waits = Program(
        name="waits", environment="python", argv=("forever",), expected="", wall_seconds=1
    )
    server.ends_after = 0.5
    result = await load(generator, mix=(Share(program=waits),), rate=30.0)
    assert result.executions.errors == {}
    assert result.most_at_once > 5
    assert len(result.claims.good) == 0
    assert server.most_in_one_runner == 1
    assert server.runners == {}


async def test_latencies_count_from_the_schedule_while_the_server_stalls(
    generator: Generator, server: WireServer
) -> None:
    """A generator that waits for answers would not have asked meanwhile, and seen one stall."""
    server.stall_between = (0.3, 0.8)
    result = await load(generator)
    journal = result.executions
    waited = [
        first - scheduled for first, scheduled in zip(journal.first, journal.scheduled, strict=True)
    ]
    assert sum(seconds > 0.1 for seconds in waited) > 10


def _fresh(**changes: Any) -> Fresh:
    return Fresh(**{"program": ECHO, "rate": 50.0, "seconds": 1.0, **changes})


async def test_fresh_executions_have_a_runner_each_which_ends_with_them(
    generator: Generator, server: WireServer
) -> None:
    result = await generator.do(_fresh(over="runners"))
    journal = result.executions
    assert journal.errors == {}
    assert journal.scheduled == arrivals(50, 1.0, seed=1)
    for number, scheduled in enumerate(journal.scheduled):
        assert scheduled <= journal.dispatched[number] < journal.seated[number]
        assert journal.seated[number] <= journal.first[number] <= journal.ended[number]
    assert len(result.claims.good) == len(result.releases.good) == 50
    executed = [path for _, path in server.requests if path.endswith("/execute")]
    assert len(set(executed)) == len(executed) == 50
    assert server.runners == {}


async def test_the_start_of_a_fresh_run_is_all_but_what_followed_its_first_output(
    generator: Generator, server: WireServer
) -> None:
    server.runs_for = 0.2
    journal = (await generator.do(_fresh())).executions
    assert journal.errors == {}
    assert server.ran_once == ["python"] * 50
    for number, scheduled in enumerate(journal.scheduled):
        assert scheduled <= journal.dispatched[number] <= journal.first[number]
        assert 0.19 < journal.ended[number] - journal.first[number] < 0.2
    starts = [a - b for a, b in zip(journal.first, journal.scheduled, strict=True)]
    assert median(starts) < 0.15


async def test_fresh_runs_count_from_the_schedule_while_the_server_stalls(
    generator: Generator, server: WireServer
) -> None:
    server.stall_between = (0.3, 0.8)
    journal = (await generator.do(_fresh())).executions
    waits = [a - b for a, b in zip(journal.first, journal.scheduled, strict=True)]
    assert sum(seconds > 0.1 for seconds in waits) > 10


@pytest.mark.parametrize("over", ["run", "runners"])
async def test_a_fresh_execution_that_goes_wrong_fails_and_its_runner_ends(
    generator: Generator, server: WireServer, over: str
) -> None:
    wrong = Program(name="wrong", environment="python", argv=("echo", "x"), expected="y\n")
    result = await generator.do(_fresh(program=wrong, rate=5.0, over=over))
    assert result.executions.errors == {"its output is not what it wrote": 5}
    assert server.runners == {}


async def test_what_comes_back_wrong_is_an_error_of_its_kind(
    generator: Generator, server: WireServer
) -> None:
    wrong = Program(name="wrong", environment="python", argv=("echo", "x"), expected="y\n")
    result = await load(generator, mix=(Share(program=wrong),), rate=5.0)
    assert result.executions.errors == {"its output is not what it wrote": 5}


async def test_streams_go_on_after_lost_connections(
    generator: Generator, server: WireServer
) -> None:
    server.cut_after = 300_000
    long = Program(
        name="long", environment="python", argv=("count", "900000"),
        expected=("0123456789abcdef" * 56250),
    )  # fmt: skip
    result = await load(generator, mix=(Share(program=long),), rate=5.0, patience_seconds=5.0)
    assert result.executions.errors == {}
    assert result.resumed >= 10


async def test_without_patience_a_lost_connection_is_an_error(
    generator: Generator, server: WireServer
) -> None:
    server.cut_after = 300_000
    result = await load(generator, mix=(Share(program=LONG),), rate=5.0)
    assert result.executions.errors == {"stream: closed with 1006": 5}


async def test_an_end_before_its_time_reports_what_there_was(
    generator: Generator, server: WireServer
) -> None:
    async def stop() -> None:
        while len(server.programs) < 20:  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.01)
        generator.stop()

    stopping = asyncio.create_task(stop())
    result = await load(generator, seconds=30.0)
    await stopping
    assert result.stopped
    assert 5 < len(result.executions.scheduled) < 500
    assert result.executions.errors == {}


async def test_who_ends_it_before_a_job_has_begun_has_nothing_of_that(
    generator: Generator, server: WireServer
) -> None:
    generator.stop()
    result = await load(generator, seconds=30.0)
    assert result.stopped
    assert len(result.executions.scheduled) < 50


async def test_closed_loops_claims_and_storms(generator: Generator, server: WireServer) -> None:
    await generator.do(Lease(environment="python", count=3))
    closed = Closed(program=ECHO, workers=3, seconds=0.5, over="websocket")
    result = await generator.do(closed)
    assert result.executions.errors == {}
    assert len(result.executions.ended) > 10
    claims = Claims(environment="python", rate=20, count=10)
    assert len((await generator.do(claims)).claims.good) == 10
    storm = Storm(environment="python", workers=5, token=TOKEN, claims=claims)
    result = await generator.do(storm)
    assert len(result.claims.good) == 10
    assert len(result.others.good) > 20
    await generator.do(Release())
    assert server.runners == {}


async def test_a_server_that_refuses_ends_the_job_and_not_the_generator(
    generator: Generator, server: WireServer
) -> None:
    with pytest.raises(LoadFailed, match="lease: 404 unknown_environment"):
        await generator.do(Lease(environment="cobol", count=2))
    await generator.do(Lease(environment="python", count=1))
    await generator.do(Release())
