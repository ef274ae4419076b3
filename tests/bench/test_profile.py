"""Profiles: every microsecond is charged once, and to who took it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from assay.bench.profile.findings import Profile, Way, clock_of, from_json, server_of, to_data
from assay.bench.profile.ledger import Ledger
from assay.bench.profile.picture import picture
from assay.bench.profile.probes import PROBES, install
from assay.cli.app import app
from assay.domain.errors import InvalidInput

WAY = Way(
    name="warm", program="echo", count=10, whole=1000.0,
    clock={"client": 400.0, "server": 600.0}, server={"runners": 500.0, "pool": 0.1},
    processes={"server": 500.1, "sandboxes": None},
)  # fmt: skip
PROFILE = Profile(name="now", version="0", driver="fake", machine={"processors": 2}, ways=(WAY,))


class Clock:
    """Time that passes when somebody says so, and none while it is read."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def test_an_outer_stage_is_not_charged_with_an_inner_one() -> None:
    clock = Clock()
    ledger = Ledger(clock)

    def take(nanoseconds: int) -> None:
        clock.now += nanoseconds

    inner = ledger.around("inner", take)

    def outer() -> None:
        take(5)
        inner(30)
        take(5)

    take(1000)
    ledger.around("outer", outer)()
    take(1000)
    assert ledger.spent == {"outer": 10, "inner": 30}


def test_a_stage_that_fails_is_charged_and_left() -> None:
    clock = Clock()
    ledger = Ledger(clock)

    def fail() -> None:
        clock.now += 7
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ledger.around("bad", fail)()
    clock.now += 100
    ledger.around("good", lambda: None)()
    assert ledger.spent == {"bad": 7, "good": 0}


async def test_a_coroutine_is_charged_for_its_steps_and_not_for_its_waits() -> None:
    clock = Clock()
    ledger = Ledger(clock)

    async def work() -> str:
        clock.now += 3
        await asyncio.sleep(0)
        clock.now += 4
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            clock.now += 5
        return "done"

    task = asyncio.create_task(ledger.around_steps("work", work)())
    await asyncio.sleep(0)
    clock.now += 1000
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "done"
    assert ledger.spent == {"work": 12}


def test_reading_the_clock_is_charged_to_nobody() -> None:
    readings = iter(range(0, 10**9, 100))
    ledger = Ledger(lambda: next(readings))
    ledger.around("quick", lambda: None)()
    assert ledger.spent == {"quick": 0}


def test_every_probe_finds_what_it_is_put_around() -> None:
    """In a process of its own: they stay where they were put."""
    missing = """
import importlib
from assay.bench.profile.ledger import Ledger
from assay.bench.profile.probes import Moments, PROBES, install
Moments().install()
install(Ledger())
for probe in PROBES:
    for name in probe.names:
        found = importlib.import_module(probe.module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if not hasattr(found, "__wrapped__"):
            print(probe.module, name)
"""
    ended = subprocess.run(
        [sys.executable, "-c", missing], capture_output=True, text=True, check=True
    )
    # What older versions have in place of Inbox, so that they can be compared.
    assert ended.stdout.split("\n") == ["assay.agent.client Agent._read", ""]
    assert len(PROBES) > 10
    assert install.__doc__


def test_the_parts_of_an_executions_time_add_up() -> None:
    moments = [(0, 100_000, 700_000, 50_000)] * 3
    parts = clock_of(moments, [0.001] * 3, [0.0004] * 3, [0.00002] * 3)
    assert sum(parts.values()) == pytest.approx(1000)
    assert list(parts.values()) == pytest.approx([150, 0, 80, 20, 300, 400, 50])


def test_what_no_stage_took_is_the_event_loops() -> None:
    before = {"stages": {}, "threads": {}}
    after = {
        "stages": {"runners": 300_000, "pool": 100_000},
        "threads": {"MainThread": 900_000, "assay-storage": 200_000, "asyncio": 50_000},
    }
    found = server_of(before, after, 1, main=600.0)
    assert found == {
        "runners": 300.0, "event loop, what else": 200.0, "database, its thread": 200.0,
        "pool": 100.0, "driver, its threads": 50.0,
    }  # fmt: skip


def test_probes_that_took_more_than_was_left_take_from_all() -> None:
    after = {"stages": {"runners": 900_000, "pool": 300_000}, "threads": {"MainThread": 1}}
    found = server_of({"stages": {}, "threads": {}}, after, 1, main=600.0)
    assert found["runners"] == pytest.approx(450)
    assert found["pool"] == pytest.approx(150)


def test_profiles_survive_json() -> None:
    assert from_json(json.dumps(to_data(PROFILE)).encode()) == PROFILE


def test_a_picture_has_a_bar_for_each_way_of_each_profile() -> None:
    pytest.importorskip("matplotlib")
    svg = picture([replace(PROFILE, name="before"), PROFILE])
    assert svg.startswith("<svg")
    for text in ("before, fake", "now, fake", "runners", "others", "1.00"):
        assert text in svg
    assert svg == picture([replace(PROFILE, name="before"), PROFILE])


def test_a_file_that_is_no_profile_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for name, complaint in (("x.json", "is no profile"), ("y.json", "cannot be read")):
        ended = CliRunner().invoke(app, ["bench", "profile", "--beside", str(tmp_path / name)])
        assert isinstance(ended.exception, InvalidInput)
        assert complaint in ended.exception.message


@pytest.mark.root
def test_a_small_profile_of_a_real_server(tmp_path: Path) -> None:
    target = tmp_path / "profile.json"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
    subprocess.run(
        [sys.executable, "-m", "assay", "--state", tmp_path / "state", "bench", "profile",
         "--driver", "lean", "--count", "10", "--json", target],
        env={**inherited, "TMPDIR": str(tmp_path), "ASSAY_CONFIG": os.devnull},
        check=True, timeout=100, capture_output=True,
    )  # fmt: skip
    found = from_json(target.read_bytes())
    assert len(found.ways) == 3
    for way in found.ways:
        assert 500 < way.whole < 1_000_000
        assert 100 < way.clock["the program, as its agent sees it"] < way.whole * 3
        assert way.server["runners"] > 5
        taken = way.processes["sandboxes: agent, program, kernel"]
        assert taken is None or taken > 100
    assert found.ways[2].clock["wait for a sandbox"] > 10
    assert found.ways[2].server["pool"] > 5
    assert found.ways[1].server["database, its thread"] > 5
    assert list(tmp_path.glob("assay-*")) == []
