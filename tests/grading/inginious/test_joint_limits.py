"""A grader that asks for students without end: all of a grading together has limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from assay.bootstrap import Catalogue
from assay.bootstrap.places import DriverPlaces
from assay.config import Settings
from assay.domain.limits import MIB
from assay.driver.guard import Guard
from assay.grading.inginious import Environments, Graded, Submission, load_task
from assay.grading.inginious.containers import read_files
from assay.grading.inginious.grading import _script
from assay.grading.inginious.judging import judge
from assay.grading.joint import JointLimits
from assay.grading.script import run_script

pytestmark = pytest.mark.timeout(300)
TASK = "name: Many\nenvironment_id: default\nproblems:\n    q1:\n        type: code\n"
LIMITS = "limits:\n    time: '60'\n    hard_time: '200'\n    memory: '64'\n"


async def _graded(
    folder: Path, settings: Settings, driver: Guard, run: str, **rules: object
) -> Graded:
    (folder / "many").mkdir()
    (folder / "course.yaml").write_text("name: Many\n")
    (folder / "many/task.yaml").write_text(TASK + LIMITS)
    (folder / "many/run").write_text(f"#!/bin/bash\n{run}\nfeedback-result success\n")
    task = load_task(folder / "many")
    script = _script(task, read_files(task), Submission(answers={"q1": "x"}), Environments(), "")
    script = replace(script, students=replace(script.students, **rules))  # type: ignore[arg-type]
    async with asyncio.timeout(150):
        return judge(await run_script(DriverPlaces(driver, Catalogue(settings)), script), state="")


async def test_a_grader_that_asks_for_a_thousand_students_is_ended_and_is_to_blame(
    tmp_path: Path, settings: Settings, driver: Guard
) -> None:
    run = "for i in $(seq 1000); do (run_student true &) ; sleep 0.05; done; sleep 100"
    graded = await _graded(tmp_path, settings, driver, run, in_all=6, at_once=2)
    assert (graded.result, graded.grade) == ("error", None)
    assert "6 programs of students" in graded.detail


async def test_students_that_take_too_much_together_are_the_learners_fault(
    tmp_path: Path, settings: Settings, driver: Guard
) -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass"
    run = f"for i in $(seq 1000); do run_student python3 -c '{burn}'; done"
    joint = JointLimits(cpu_seconds=1.0)
    graded = await _graded(tmp_path, settings, driver, run, joint=joint)
    assert (graded.result, graded.grade) == ("timeout", 0.0)


async def test_a_grader_that_takes_most_of_the_time_itself_is_to_blame_and_not_the_learner(
    tmp_path: Path, settings: Settings, driver: Guard
) -> None:
    slow, burn = (f"import time\nwhile time.process_time() < {each}: pass" for each in (0.8, 0.4))
    run = f"python3 -c '{slow}'; for i in $(seq 1000); do run_student python3 -c '{burn}'; done"
    joint = JointLimits(cpu_seconds=1.3)
    graded = await _graded(tmp_path, settings, driver, run, joint=joint)
    assert (graded.result, graded.grade) == ("error", None)
    assert "1.3 s of processor time" in graded.detail


async def test_what_a_grader_takes_after_its_last_student_counts_as_well(
    tmp_path: Path, settings: Settings, driver: Guard
) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    run = f"run_student true; python3 -c '{burn}'; python3 -c '{burn}'"
    joint = JointLimits(cpu_seconds=0.8)
    graded = await _graded(tmp_path, settings, driver, run, joint=joint)
    assert (graded.result, graded.grade) == ("error", None)
    assert "0.8 s of processor time" in graded.detail


async def test_more_memory_than_all_may_have_is_the_tasks_fault_and_no_lost_sandbox(
    tmp_path: Path, settings: Settings, driver: Guard
) -> None:
    joint = JointLimits(memory_bytes=32 * MIB)
    graded = await _graded(tmp_path, settings, driver, "run_student true", joint=joint)
    assert (graded.result, graded.grade) == ("error", None)
    assert "MiB of memory, and all programs of a grading together may have 32" in graded.detail
    assert "lost" not in graded.detail
