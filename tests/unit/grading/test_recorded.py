"""Submissions with what they are worth, as teachers record them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from assay.cli.task_junit import junit
from assay.cli.tested import Tested as Was
from assay.domain.errors import InvalidTask
from assay.grading.recorded import SHAPE, Recorded, differences, recorded_of, right_answers
from assay.grading.results import PartResult, Result, Verdict
from assay.grading.tasks import load_task

PAGE = (Path(__file__).parents[3] / "docs/tasks.md").read_text()
TASK = """\
title = "A task"
environment = "python"
files = ["main.py"]
[[parts]]
id = "compiles"
kind = "compiles"
[[parts]]
id = "number"
kind = "match"
pattern = true
answers = ["[0-9]+"]
"""
Record = Callable[..., tuple[Recorded, ...]]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    def make(expected: str | None, **files: str) -> tuple[Recorded, ...]:
        folder = tmp_path / "task"
        written = {"task.toml": TASK, "solution/main.py": "print(1)\n"}
        written |= {f"tests/one/{name}": text for name, text in files.items()}
        if expected is not None:
            written["tests/one/expected.toml"] = expected
        for name, text in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return recorded_of(*load_task(folder))

    return make


def test_files_and_answers_are_a_submission(record: Record) -> None:
    (one,) = record('grade = 50\n[answers]\nnumber = "x"\n', **{"main.py": "1\n"})
    assert one.name == "one"
    assert one.submission.files == {"main.py": b"1\n"}
    assert one.submission.answers == {"number": "x"}


def test_without_files_it_is_the_reference_solution(record: Record) -> None:
    (one,) = record("grade = 50\n")
    assert one.submission.files == {"main.py": b"print(1)\n"}


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (None, "expected.toml"),
        ("", "grade, a verdict or"),
        ('verdict = "good"\n', "verdict"),
        ("grade = 101\n", "grade"),
        ('[parts]\nother = "passed"\n', "parts.other: there is no such part"),
        ("grade = 1\n[answers]\nother = 1\n", "no question 'other'"),
        ("grade = 1\nscore = 1\n", "there is no such key"),
        ("grade = = 1\n", "this is not TOML"),
    ],
)
def test_what_makes_no_sense_is_an_error_with_its_place(
    record: Record, expected: str | None, said: str
) -> None:
    with pytest.raises(InvalidTask) as refused:
        record(expected, **{"main.py": "1\n"})
    assert "tests/one" in refused.value.message
    assert said in refused.value.message


def test_a_file_that_nobody_asks_for_is_an_error(record: Record) -> None:
    with pytest.raises(InvalidTask, match="not asked for"):
        record("grade = 1\n", **{"main.py": "1\n", "more.py": "1\n"})


def test_differences_are_named(record: Record) -> None:
    (one,) = record('grade = 50\nverdict = "partial"\n[parts]\ncompiles = "passed"\n')
    part = PartResult(id="compiles", verdict=Verdict.FAILED, score=0.0)
    assert list(differences(one, Result(verdict=Verdict.FAILED, grade=0.0, parts=(part,)))) == [
        "the grade is 0 instead of 50",
        "the verdict is failed instead of partial",
        "the part compiles is failed instead of passed",
    ]
    right = PartResult(id="compiles", verdict=Verdict.PASSED, score=1.0)
    same = Result(verdict=Verdict.PARTIAL, grade=50.004, parts=(right,))
    assert list(differences(one, same)) == []


def test_no_grade_is_never_the_recorded_one(record: Record) -> None:
    (one,) = record("grade = 0\n")
    assert list(differences(one, Result(verdict=Verdict.ERROR, grade=None)))


def test_answers_to_patterns_are_learnt_from_what_is_recorded(
    record: Record, tmp_path: Path
) -> None:
    recorded = record('[parts]\nnumber = "passed"\n[answers]\nnumber = "42"\n')
    task, _ = load_task(tmp_path / "task")
    assert right_answers(task, recorded) == {"number": "42"}
    assert right_answers(task, ()) == {}


def test_the_documentation_names_every_key_and_verdict() -> None:
    for name in (*SHAPE.keys[""], *Verdict):
        assert f"`{name}`" in PAGE or f"\n{name} = " in PAGE or f"[{name}]" in PAGE, name


def test_a_report_for_continuous_integration_counts_and_quotes() -> None:
    tested = [
        Was(task="sum", name="right", verdict="passed", grade=100.0, seconds=0.5),
        Was(task="sum", name="<wrong>\x1b", problems=("a & b", "c"), verdict="failed"),
        Was(task="other", name="right"),
    ]
    root = ElementTree.fromstring(junit(tested))
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("sum", "2", "1"),
        ("other", "1", "0"),
    ]
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("a & b", "a & b\nc")


def test_unit_tests_in_the_same_folder_are_no_submissions(tmp_path: Path) -> None:
    text = TASK + '[[parts]]\nid = "tests"\nkind = "unit_tests"\nframework = "pytest"\n'
    written = {
        "task.toml": text + 'tests = ["tests/test_main.py", "tests/more/test_more.py"]\n',
        "solution/main.py": "", "tests/test_main.py": "", "tests/conftest.py": "",
        "tests/more/test_more.py": "", "tests/one/expected.toml": "grade = 50\n",
    }  # fmt: skip
    for name, content in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert [each.name for each in recorded_of(*load_task(tmp_path))] == ["one"]
    (tmp_path / "tests/two").mkdir()
    (tmp_path / "tests/two/main.py").write_text("")
    with pytest.raises(InvalidTask, match=r"tests/two: there is no expected\.toml"):
        recorded_of(*load_task(tmp_path))
