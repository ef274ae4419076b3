"""Tasks with one thing wrong each, tried in real sandboxes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from assay.bootstrap.places import DriverPlaces
from assay.grading.joint import Seats
from assay.grading.tasks import load_task
from assay.grading.trials.check import Options, check
from assay.grading.trials.report import Report

pytestmark = pytest.mark.root

HEAD = """\
title = "Twice"
environment = "python"
files = ["twice.py"]
[limits]
wall_seconds = 3
cpu_seconds = 2
[sandbox]
memory = "64 MiB"
[[parts]]
id = "cases"
kind = "cases"
"""
CASES = """\
[[parts.cases]]
name = "two"
stdin = "2"
expected = "4"
[[parts.cases]]
name = "three"
stdin = "3"
expected = "6"
hidden = true
"""
Try = Callable[..., Awaitable[Report]]
SOLUTION = "print(int(input()) * 2)\n"


@pytest.fixture
def try_task(places: DriverPlaces, tmp_path: Path) -> Try:
    async def tried(
        text: str = HEAD + CASES,
        *,
        mutants: int = 0,
        solution: bool = True,
        at_once: int = 2,
        **files: str,
    ) -> Report:
        folder = tmp_path / "twice"
        written = {"task.toml": text, "description.md": "Twice."}
        if solution:
            written["solution/twice.py"] = SOLUTION
        for name, content in {**written, **files}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        task, bundle = load_task(folder)
        options = Options(mutants=mutants)
        return await check(
            task, bundle, places, seats=Seats(at_once), workers=at_once, options=options
        )

    return tried


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


async def test_a_good_task_passes_and_its_mutants_are_found(try_task: Try) -> None:
    report = await try_task(mutants=30)
    assert report.passed
    assert codes(report) == []
    assert [tried.right for tried in report.tried] == [True] * len(report.tried)
    assert {tried.name for tried in report.tried} >= {
        "empty files", "a program that does nothing", "a program that never ends",
        "a program that prints for ever", "what 'two' expects",
    }  # fmt: skip
    assert report.mutation is not None
    assert report.mutation.score == 1.0
    assert report.mutation.counted >= 4


async def test_a_task_that_wants_no_output_gives_full_marks_to_nothing(try_task: Try) -> None:
    text = HEAD + CASES.replace('expected = "4"\n', "").replace('expected = "6"\n', "")
    report = await try_task(text)
    assert not report.passed
    assert codes(report) == ["full-marks"] * 2
    assert "empty files" in report.findings[0].message


async def test_a_task_with_one_case_that_is_seen_can_be_answered_by_printing(try_task: Try) -> None:
    report = await try_task(HEAD + CASES.partition('[[parts.cases]]\nname = "three"')[0])
    assert codes(report) == ["all-seen", "full-marks"]
    assert "what 'two' expects" in report.findings[1].message


async def test_a_template_that_is_the_solution_is_found(try_task: Try) -> None:
    report = await try_task(**{"template/twice.py": SOLUTION})
    assert codes(report) == ["full-marks"]
    assert "template" in report.findings[0].message


async def test_a_wrong_solution_is_shown_with_what_it_prints(try_task: Try) -> None:
    report = await try_task(**{"solution/twice.py": "print(5)\n"})
    assert codes(report) == ["reference-fails"]
    assert "expected '4', got '5'" in report.findings[0].message


async def test_a_checker_that_fails_at_nothing_is_the_tasks_fault(try_task: Try) -> None:
    checker = '[parts.checker]\nkind = "program"\nargv = ["python3", "check.py"]\n'
    looks = (
        "import sys\nfrom pathlib import Path\n"
        "read = lambda name: Path(name).read_text().split()\n"
        "if not read('output'): sys.exit(3)\n"
        "sys.exit(42 + (read('output') != read('expected')))\n"
    )
    report = await try_task(HEAD + checker + CASES, **{"check.py": looks})
    assert not report.passed
    assert set(codes(report)) == {"fault"}


async def test_cases_that_take_any_number_let_most_mutants_live(try_task: Try) -> None:
    checker = '[parts.checker]\nkind = "pattern"\n'
    cases = CASES.replace('"4"', '"[0-9]+"').replace('"6"', '"[0-9]+"')
    report = await try_task(HEAD + checker + cases, mutants=30)
    assert not report.passed
    assert codes(report)[-1] == "mutation-score"
    assert "survivor" in codes(report)
    assert report.mutation is not None
    assert any(mutant.line == 1 for mutant in report.mutation.survived)


RANDOM = '[parts.random]\nargv = ["python3", "generate.py"]\ncount = 1\n'


@pytest.mark.parametrize(
    ("prints", "code"),
    [
        ("7", "generator-constant"),
        ("__import__('time').time_ns()", "generator-not-repeatable"),
        ("__import__('sys').argv[1]", None),
    ],
)
async def test_a_generator_makes_its_cases_from_the_seed(
    try_task: Try, prints: str, code: str | None
) -> None:
    report = await try_task(HEAD + RANDOM, **{"generate.py": f"print({prints})\n"})
    assert codes(report) == ([code] if code else [])


async def test_a_solution_that_needs_most_of_its_time_is_named(try_task: Try) -> None:
    text = (HEAD + CASES).replace("wall_seconds = 3", "wall_seconds = 4")
    slow = "import time\ntime.sleep(2.1)\n" + SOLUTION
    report = await try_task(text, at_once=8, **{"solution/twice.py": slow})  # all of them sleep
    assert report.passed
    assert codes(report) == ["near-limit"]


async def test_what_can_not_be_tried_is_wrong(try_task: Try) -> None:
    report = await try_task((HEAD + CASES).replace('"python"', '"nowhere"'))
    assert not report.passed
    assert codes(report) == ["environment"]


async def test_a_limit_over_the_ceiling_is_a_finding(try_task: Try) -> None:
    report = await try_task((HEAD + CASES).replace('"64 MiB"', '"64 GiB"'))
    assert codes(report) == ["environment"]


async def test_a_task_without_a_solution_is_not_tried(try_task: Try) -> None:
    report = await try_task(solution=False)
    assert codes(report) == ["no-solution"]
    assert report.tried == ()


TESTED = HEAD.replace('kind = "cases"', 'kind = "unit_tests"\nframework = "{framework}"').replace(
    'id = "cases"\n', 'id = "tests"\ntests = ["tests/{test}"]\n'
)
IN_PYTHON = {
    "solution/twice.py": "def twice(number):\n    return number * 2 if number < 9 else 18\n",
    "tests/test_twice.py": "import unittest\nimport twice\n\n\nclass Twice(unittest.TestCase):\n"
    "    def test_six(self):\n        self.assertEqual(twice.twice(3), 6)\n",
}
IN_JAVASCRIPT = {
    "solution/twice.js": "module.exports = { twice: (number) => number * 2 };\n",
    "tests/twice.test.js": 'const { twice } = require("../twice");\n'
    'require("node:test").test("six", () => require("node:assert").equal(twice(3), 6));\n',
}


async def test_mutants_of_what_is_tested_by_unit_tests_are_tried(try_task: Try) -> None:
    text = TESTED.format(framework="unittest", test="test_twice.py")
    report = await try_task(text, mutants=30, **IN_PYTHON)
    assert {tried.name for tried in report.tried} >= {"empty files", "a program that never ends"}
    assert [tried.right for tried in report.tried] == [True] * len(report.tried)
    assert report.mutation is not None
    assert report.mutation.score is not None
    assert 0.3 < report.mutation.score < 1
    assert all("9" in str(each) or "18" in str(each) for each in report.mutation.survived)
    assert "survivor" in codes(report)


async def test_mutants_in_javascript_are_found_by_its_tests(try_task: Try) -> None:
    text = TESTED.format(framework="node:test", test="twice.test.js")
    text = text.replace("python", "javascript").replace("64 MiB", "256 MiB")
    text = text.replace("twice.py", "twice.js")
    report = await try_task(text, mutants=3, solution=False, **IN_JAVASCRIPT)
    assert report.passed
    assert report.mutation is not None
    assert (report.mutation.killed, report.mutation.survived) == (report.mutation.counted, ())
    assert report.mutation.killed >= 2
