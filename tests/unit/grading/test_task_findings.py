"""What is said of a task that was read, and of what was tried."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import assay.cli.check_inginious
import assay.grading.trials
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.environments import bundled_folder, load
from assay.grading.results import Delays, PartResult, Result, Verdict
from assay.grading.results import TestResult as ResultOfTest
from assay.grading.tasks import Submission, Task, load_task
from assay.grading.tasks.document import SHAPE
from assay.grading.trials.findings import Severity, read
from assay.grading.trials.mutants import Mutant
from assay.grading.trials.report import (
    Mutation,
    compiled,
    of_mutants,
    of_reference,
    of_time,
    of_trial,
    slowest,
)  # fmt: skip
from assay.grading.trials.submissions import Trial, answers_of, reference, wrong_ones

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "tasks.md").read_text()
UNIT_TESTS = (DOCS / "unit-tests.md").read_text()
NOW = datetime(2030, 1, 1, tzinfo=UTC)
GOOD = """\
title = "A task"
environment = "python"
files = ["main.py"]
[limits]
wall_seconds = 5
cpu_seconds = 2
[sandbox]
memory = "64 MiB"
[[parts]]
id = "cases"
kind = "cases"
[[parts.cases]]
name = "one"
stdin = "1"
expected = "a\\n"
[[parts.cases]]
name = "two"
hidden = true
expected = "b\\n"
"""
MakeTask = Callable[..., Task]


@pytest.fixture
def task(tmp_path: Path) -> MakeTask:
    def make(text: str = GOOD, **files: str) -> Task:
        folder = tmp_path / "task"
        written = {"description.md": "Do it.", "solution/main.py": "print(1)\n", **files}
        for name, content in {**written, "task.toml": text}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return load_task(folder)[0]

    return make


def codes(task: Task) -> list[str]:
    return [finding.code for finding in read(task, NOW)]


def test_nothing_is_wrong_with_a_good_task(task: MakeTask) -> None:
    assert codes(task()) == []


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("hidden = true\n", "", "all-seen"),
        ("wall_seconds = 5\n", "", "no-limits"),
        ("cpu_seconds = 2\n", "", "no-limits"),
        ('memory = "64 MiB"\n', "", "no-limits"),
        ('name = "one"\n', 'name = "one"\nweight = 1000\n', "uneven-weights"),
        ("[[parts]]", "[rules]\ndeadline = 2029-12-31T23:59:00Z\n[[parts]]", "deadline-over"),
        ('name = "two"\n', 'name = "two"\nweight = 0\n', None),
        ("[[parts]]", '[[parts]]\nid = "compiles"\nkind = "compiles"\nweight = 0\n[[parts]]',
         "no-weight"),
        ("[[parts]]", "[rules]\ndeadline = 2029-12-31T23:59:00Z\n"
         "late = [{ until = 2031-01-01T00:00:00Z, factor = 0.5 }]\n[[parts]]", None),
    ],
)  # fmt: skip
def test_what_is_missing_or_odd_is_named(
    task: MakeTask, before: str, after: str, code: str | None
) -> None:
    assert before in GOOD
    assert codes(task(GOOD.replace(before, after, 1))) == ([code] if code else [])


def test_cases_without_any_weight_are_an_error(task: MakeTask) -> None:
    text = GOOD.replace('name = "one"', 'name = "one"\nweight = 0')
    text = text.replace('name = "two"', 'name = "two"\nweight = 0')
    assert [each.severity for each in read(task(text), NOW)] == [Severity.ERROR]


def test_an_empty_description_is_named(task: MakeTask) -> None:
    assert codes(task(**{"description.md": "\n"})) == ["no-description"]


def result(verdict: Verdict, score: float, *tests: ResultOfTest) -> Result:
    part = PartResult(id="cases", verdict=verdict, score=score, tests=tests)
    grade = None if verdict is Verdict.ERROR else 100 * score
    return Result(verdict=verdict, grade=grade, parts=(part,))


def one_test(verdict: Verdict, wall: float = 0.1, memory: int = 0) -> ResultOfTest:
    return ResultOfTest(
        name="one", verdict=verdict, score=float(verdict is Verdict.PASSED), wall_seconds=wall,
        cpu_seconds=wall, peak_memory_bytes=memory,
    )  # fmt: skip


RIGHT = result(Verdict.PASSED, 1.0, one_test(Verdict.PASSED))
WRONG = result(Verdict.FAILED, 0.0, one_test(Verdict.FAILED))


def test_a_reference_that_is_sometimes_wrong_is_flaky_and_the_test_is_named() -> None:
    (finding,) = of_reference([RIGHT, RIGHT, WRONG, RIGHT])
    assert finding.code == "flaky"
    assert "cases / one" in finding.message


def test_a_reference_that_is_always_wrong_is_wrong() -> None:
    (finding,) = of_reference([WRONG, WRONG])
    assert (finding.code, finding.severity) == ("reference-fails", Severity.ERROR)


def test_a_reference_that_is_always_right_is_right() -> None:
    assert list(of_reference([RIGHT, RIGHT])) == []


TRIAL = Trial(name="nothing", submission=Submission(), remedy="give cases")


@pytest.mark.parametrize(
    ("verdict", "score", "code"),
    [
        (Verdict.PASSED, 1.0, "full-marks"),
        (Verdict.PASSED, 0.6, "passes"),
        (Verdict.ERROR, 0.0, "fault"),
        (Verdict.PARTIAL, 0.6, None),
        (Verdict.FAILED, 0.0, None),
    ],
)
def test_a_worthless_submission_must_not_have_full_marks(
    verdict: Verdict, score: float, code: str | None
) -> None:
    found = [each.code for each in of_trial(TRIAL, result(verdict, score), 50.0)]
    assert found == ([code] if code else [])


def test_a_solution_that_is_once_quick_enough_is_not_near_its_limit() -> None:
    slow = result(Verdict.PASSED, 1.0, one_test(Verdict.PASSED, wall=3.0))
    limits = ExecutionLimits(wall_seconds=5, cpu_seconds=5)
    assert [each.code for each in of_time([slow], limits, SandboxLimits())] == ["near-limit"] * 2
    assert list(of_time([slow, RIGHT], limits, SandboxLimits())) == []


def test_a_solution_that_needs_almost_all_memory_is_near_its_limit() -> None:
    sandbox = SandboxLimits()
    large = one_test(Verdict.PASSED, memory=sandbox.memory_bytes - 1)
    (finding,) = of_time([result(Verdict.PASSED, 1.0, large)], ExecutionLimits(), sandbox)
    assert "memory" in finding.message


MUTANT = Mutant(file="main.py", line=3, change="1 → 2", source="")


def test_survivors_are_named_and_their_share_decides() -> None:
    mutation = Mutation(made=9, killed=1, survived=(MUTANT, MUTANT, MUTANT), uncompiled=5)
    assert mutation.score == 0.25
    *notes, wrong = of_mutants(mutation, 50.0)
    assert [each.severity for each in notes] == [Severity.NOTE] * 3
    assert "main.py:3: 1 → 2" in notes[0].message
    assert (wrong.code, wrong.severity) == ("mutation-score", Severity.ERROR)
    assert len(list(of_mutants(mutation, 25.0))) == 3


def test_without_mutants_there_is_no_score_and_no_error() -> None:
    assert list(of_mutants(Mutation(made=0), 50.0)) == []


def test_a_program_that_was_not_compiled_is_told_from_one_that_is_wrong(task: MakeTask) -> None:
    assert not compiled(task(), result(Verdict.FAILED, 0.0))
    assert compiled(task(), WRONG)


def test_what_is_handed_in_is_made_from_the_task(task: MakeTask) -> None:
    made = task(**{"template/main.py": "# begin here\n"})
    right = reference(made, answers_of(made))
    assert right.files == {"main.py": b"print(1)\n"}
    trials = {
        trial.name: trial.submission.files["main.py"]
        for trial in wrong_ones(made, right, load(bundled_folder() / "python").trials)
    }
    assert trials["the template as it is"] == b"# begin here\n"
    assert trials["empty files"] == b""
    assert b"97,10" in trials["what 'one' expects"]
    assert len(trials) == 6


def test_right_answers_are_known_and_wrong_ones_are_wrong(task: MakeTask) -> None:
    text = (
        'title = "Q"\nenvironment = "python"\n[[parts]]\nid = "c"\nkind = "choice"\n'
        '[[parts.choices]]\ntext = "a"\n[[parts.choices]]\ntext = "b"\nright = true\n'
        '[[parts]]\nid = "m"\nkind = "match"\nanswers = ["x"]\n'
        '[[parts]]\nid = "p"\nkind = "match"\npattern = true\nanswers = ["x+"]\n'
    )
    made = task(text)
    assert answers_of(made) == {"c": (1,), "m": "x"}
    assert answers_of(made, {"p": "xx"})["p"] == "xx"
    trials = list(wrong_ones(made, reference(made, answers_of(made)), load(
        bundled_folder() / "python").trials))  # fmt: skip
    assert [trial.name for trial in trials] == ["no answers", "wrong answers"]
    assert trials[1].submission.answers["c"] == (0,)


def test_the_documentation_names_every_key_of_a_task() -> None:
    for table, keys in SHAPE.keys.items():
        for key in keys:
            assert f"`{key}`" in PAGE + UNIT_TESTS, f"{table}.{key}"


def test_the_documentation_names_every_finding() -> None:
    said = set()
    of_inginious = Path(assay.cli.check_inginious.__file__)
    for file in (of_inginious, *Path(assay.grading.trials.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                named = node.args and isinstance(node.args[0], ast.Constant)
                if node.func.id in ("error", "warning", "note") and named:
                    said.add(ast.literal_eval(node.args[0]))
    documented = PAGE.partition("| finding | |")[2].partition("The exit status is")[0]
    assert said | {"invalid"} == set(re.findall(r"`([a-z-]+)`", documented))


LINKED = """\
title = "A task"
environment = "cpp"
files = ["main.cpp"]
[[parts]]
id = "cases"
kind = "unit_tests"
framework = "doctest"
tests = ["test.cpp"]
same_process = true
"""


def test_a_task_of_unit_tests_needs_a_solution_and_limits_as_others_do(task: MakeTask) -> None:
    made = task(LINKED, **{"solution/main.cpp": "", "test.cpp": ""})
    assert codes(made) == ["no-limits"]
    assert codes(replace(made, solution={})) == ["no-solution", "no-limits"]


def test_linked_tests_may_take_as_long_as_the_whole_grading(task: MakeTask) -> None:
    made = task(LINKED, **{"solution/main.cpp": "", "test.cpp": ""})
    results = [replace(RIGHT, delays=Delays(grading=seconds)) for seconds in (3.0, 2.0)]
    assert slowest(made, results) == 2.0
    assert slowest(task(), results) == 0.1


def test_a_mutant_that_can_not_be_linked_is_none(task: MakeTask) -> None:
    made = task(LINKED, **{"solution/main.cpp": "", "test.cpp": ""})
    assert not compiled(made, result(Verdict.FAILED, 0.0))
    assert compiled(made, WRONG)
