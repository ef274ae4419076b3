"""The suites as data, and the runner's judgement of cases that go wrong."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.domain.errors import ConnectionLost, InvalidInput
from assay.driver.port import Capabilities, Driver
from assay.testing import (
    CONFORMANCE,
    HOSTILE,
    Case,
    Failure,
    Result,
    Verdict,
    bare_root,
    check,
    runner,
)
from assay.testing.case import Doubtful, NotTestable
from assay.testing.pace import slowness
from assay.testing.workbench import Workbench

ROOT = Path(__file__).resolve().parents[3]
CASES = (*CONFORMANCE, *HOSTILE)


def test_names_are_unique_and_sentences_are_sentences() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert re.fullmatch(r"[a-z]+/[a-z0-9-]+", case.name)
        assert case.sentence[0].isupper(), case.sentence
        assert case.sentence.endswith("."), case.sentence


def test_conformance_uses_only_the_documented_verbs() -> None:
    header = (ROOT / "agent/probe.c").read_text().partition("*/")[0]
    documented = set(re.findall(r"^ \*   ([a-z-]+) ", header, re.MULTILINE))
    sources = (ROOT / "src/assay/testing/conformance").glob("*.py")
    call = re.compile(
        r"(?:bench\.(?:said|run|start)\(\s*[^,]+|bench\.command\()[,\s]*\"([a-z-]+)\""
    )
    used = {verb for source in sources for verb in call.findall(source.read_text())}
    assert len(used) > 15
    assert used <= documented


def test_every_hostile_verb_is_documented() -> None:
    header = (ROOT / "agent/probe.h").read_text().partition("*/")[0]
    verbs = header.partition(" * probe_processes.c")[2]
    documented = set(re.findall(r"^ \*   ([a-z-]+)(?: |$)", verbs, re.MULTILINE))
    tables = {
        verb
        for source in (ROOT / "agent").glob("probe_*.c")
        if source.name != "probe_behaved.c"
        for verb in re.findall(
            r"^    \{\"([a-z-]+)\", \d, \w+\},$", source.read_text(), re.MULTILINE
        )
    }
    assert tables == documented


def test_a_case_needs_capabilities_that_there_are() -> None:
    with pytest.raises(InvalidInput):
        Case(name="x/y", sentence="Z.", run=_passes, needs=frozenset({"telepathy"}))


async def _passes(bench: Workbench) -> None:
    pass


async def _fails(bench: Workbench) -> None:
    raise Failure("it is wrong")


async def _loses(bench: Workbench) -> None:
    raise ConnectionLost("the connection broke", detail="by chance")


async def _hangs(bench: Workbench) -> None:
    await asyncio.sleep(60)


async def _errs(bench: Workbench) -> None:
    raise ValueError("a mistake in the case")


async def _cannot(bench: Workbench) -> None:
    raise NotTestable("there is no process to kill")


async def _leaves_a_task(bench: Workbench) -> None:
    asyncio.ensure_future(asyncio.sleep(20)).set_name("left-over")


async def _leaves_a_descriptor(bench: Workbench) -> None:
    KEPT.append(os.open("/dev/null", os.O_RDONLY))


KEPT: list[int] = []


@dataclass
class Doubt:
    """A case that is doubtful so many times."""

    times: int

    async def __call__(self, bench: Workbench) -> None:
        self.times -= 1
        if self.times >= 0:
            raise Doubtful("somebody was slow")


def make(run: object, **options: object) -> Case:
    return Case(name="some/case", sentence="It is so.", run=run, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "verdict", "reason"),
    [
        (make(_passes), Verdict.PASSED, ""),
        (make(_fails), Verdict.FAILED, "it is wrong"),
        (make(_loses), Verdict.FAILED, "connection_lost: the connection broke by chance"),
        (make(_hangs, timeout=0.1), Verdict.FAILED, f"took longer than {0.1 * slowness():g} s"),
        (make(_errs), Verdict.FAILED, "ValueError: a mistake in the case"),
        (make(_cannot), Verdict.SKIPPED, "there is no process to kill"),
        (
            make(_passes, needs=frozenset({"devices", "pause"})),
            Verdict.SKIPPED,
            "lacks devices, pause",
        ),
        (make(Doubt(2)), Verdict.PASSED, ""),
        (make(Doubt(3)), Verdict.FAILED, "somebody was slow"),
    ],
    ids=["passes", "fails", "loses", "hangs", "errs", "cannot", "lacks", "doubts", "doubts on"],
)
async def test_how_a_case_is_judged(
    case: Case, verdict: Verdict, reason: str, driver: Driver, tmp_path: Path
) -> None:
    result = await _judge(case, driver, tmp_path)
    assert (result.verdict, result.reason) == (verdict, reason)


@pytest.mark.parametrize("run", [_leaves_a_task, _leaves_a_descriptor])
async def test_what_a_case_leaves_in_this_process_is_found(
    run: object, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SECONDS_TO_VANISH", 0.1)
    before = asyncio.all_tasks()
    result = await _judge(make(run), driver, tmp_path)
    assert result.verdict is Verdict.FAILED
    assert "left in this process: " in result.reason
    for task in asyncio.all_tasks() - before:
        if task.get_name() == "left-over":
            task.cancel()
    for descriptor in KEPT:
        os.close(descriptor)
    KEPT.clear()


async def test_what_a_driver_is_asked_by_counts_for_nothing_that_is_left(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was used a moment ago may take another to be closed."""
    monkeypatch.setattr(runner, "_SECONDS_TO_VANISH", 0.3)
    ask = driver.list

    async def list_with_a_connection() -> Sequence[str]:
        descriptor = os.open("/dev/null", os.O_RDONLY)
        asyncio.get_running_loop().call_later(0.01, os.close, descriptor)
        return await ask()

    monkeypatch.setattr(driver, "list", list_with_a_connection)
    result = await _judge(make(_passes), driver, tmp_path)
    assert result.verdict is Verdict.PASSED, result.reason
    await asyncio.sleep(0.05)


async def test_progress_and_report(driver: Driver, tmp_path: Path) -> None:
    seen: list[Result | None] = []
    report = await check(
        driver,
        [make(_passes), make(_fails)],
        root=bare_root(tmp_path),
        on_progress=lambda case, result: seen.append(result),
    )
    assert [result and result.verdict for result in seen] == [
        None,
        Verdict.PASSED,
        None,
        Verdict.FAILED,
    ]
    assert not report.green
    data = report.as_data()
    assert (data["passed"], data["failed"], data["skipped"], data["green"]) == (1, 1, 0, False)
    assert data["cases"][1]["reason"] == "it is wrong"


def test_needs_are_checked_against_the_drivers_word() -> None:
    case = make(_passes, needs=frozenset({"memory_limit", "network_off"}))
    assert case.missing(Capabilities()) == []
    assert case.missing(Capabilities(memory_limit=False)) == ["memory_limit"]


async def _judge(case: Case, driver: Driver, folder: Path) -> Result:
    report = await check(driver, [case], root=bare_root(folder))
    return report.results[0]
