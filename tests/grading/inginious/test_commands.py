"""Every command and every function of a grader's."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from assay.bench.grading import TUTORIAL
from assay.domain.errors import InvalidTask
from assay.grading.inginious import Graded, to_result
from assay.grading.results import Verdict

Grade = Callable[..., Awaitable[Graded]]
ANSWERS: dict[str, Any] = {
    "q1": "first\nsecond @@@username@@",
    "q2": ("notes.txt", b"one\ntwo\n"),
    "q3": "42",
    "q4": ["0"],
    "q5": "anything",
}


async def commands(grade: Grade) -> Graded:
    graded = await grade(
        "commands", answers=ANSWERS, username="ada", email="ada@example.org", attempts=3,
        state="before", seed=7,
    )  # fmt: skip
    assert graded.result == "success", (graded.detail, graded.stdout, graded.stderr)
    return graded


async def test_the_last_word_counts_and_what_is_appended_follows(grade: Grade) -> None:
    graded = await commands(grade)
    assert graded.grade == 87.5
    assert graded.message == "first\n\tsecond A é \\\\ éHello ada: 42"
    assert graded.problems["q1"].result == "success"
    assert graded.problems["q1"].message == "from stdin and more"
    assert graded.problems["q2"].result == "failed"
    assert (graded.problems["q3"].result, graded.problems["q3"].message) == ("failed", "all in one")
    assert graded.state == "the state: before"
    assert {name: value for name, value in graded.tags.items() if name[0] != "*"} == {
        "loops": True,
        "arrays": False,
    }
    assert [value for name, value in graded.tags.items() if name[0] == "*"] == ["An unexpected one"]


async def test_values_of_a_graders_own_are_numbers_texts_or_json(grade: Grade) -> None:
    custom = (await commands(grade)).custom
    assert (custom["number"], custom["ratio"], custom["text"]) == (56, 0.5, "some words")
    assert custom["list"] == [1, {"a": None}]
    assert (custom["colon"], custom["json"]) == ("a:b", {"k": [True]})
    assert custom["ipython"] == ["a b c", 2]
    assert custom["folder"] == "/task/student"
    assert (custom["attempts"], custom["username"]) == (3, "ada")
    printed = custom["printed"]
    assert isinstance(printed, dict)
    assert printed["grade"] == 87.5
    assert printed["problems"]["q3"] == ["failed", "all in one"]


async def test_a_template_has_each_line_of_an_answer_and_nothing_that_an_answer_asks_for(
    grade: Grade,
) -> None:
    filled = (await commands(grade)).problems["q4"].message
    assert filled == (
        "// @Override, and mail@example.org\n"
        "    first;\n    second @@@username@@;\n"
        "name: notes.txt\n> one\n> two\nwho: ada\n@@none@@\n"
    )


async def test_blocks_are_restructured_text(grade: Grade) -> None:
    blocks = (await commands(grade)).custom["blocks"]
    assert isinstance(blocks, str)
    assert "\n\n.. code-block:: c\n\n\tint a;\n\n" in blocks
    assert ".. code-block:: \n\n\tx\n\ty\n" in blocks
    assert ".. admonition:: Title\n\t:class: alert alert-warning\n\n\tbody\n" in blocks
    assert ".. note:: \n\t:class: alert alert-info\n\n\tbody\n" in blocks
    assert "\n  in\n" in blocks
    assert "\n\tout\none\n" in blocks
    assert '<img src="data:image/gif;base64,R0lGODlh">' in blocks


async def test_what_is_archived_comes_along(grade: Grade) -> None:
    archive = (await commands(grade)).archive
    assert archive is not None
    assert archive.content is not None
    with tarfile.open(fileobj=io.BytesIO(archive.content)) as tar:
        assert sorted(tar.getnames()) == [
            "some",
            "some/where",
            "some/where/task.yaml",
            "template.c",
        ]


async def test_every_function_of_the_modules(grade: Grade) -> None:
    answers = {"q1": "x\ny", "q2": ("data.txt", b"\x00\xff")}
    graded = await grade(
        "python", answers=answers, username="ada", time="2026-01-02 03:04:05.000006"
    )
    assert graded.result == "success", (graded.detail, graded.stdout, graded.stderr)
    assert graded.message == "one two"
    assert graded.grade == 75
    assert graded.custom["deep"] == {"a": [1, None]}
    assert graded.problems["q2"].message == "Value 3 x"
    assert list(graded.tags.values()).count("again") == 1
    assert graded.state == "kept"


async def test_modules_are_imported_fast(grade: Grade) -> None:
    answers = {"q1": "x\ny", "q2": ("data.txt", b"\x00\xff")}
    times = []
    for _ in range(3):
        graded = await grade("python", answers=answers, username="ada", time="2026-01-02 03:04:05")
        times.append(graded.custom["import_ms"])
    assert min(times) < 200  # ten times the promise


async def test_a_task_without_a_grader_has_the_courses(grade: Grade) -> None:
    graded = await grade("shared", answers={"q1": "mine"})
    assert graded.message == "shared words mine for students"


async def test_a_task_of_0_6_runs_its_command_with_random_numbers(grade: Grade) -> None:
    graded = await grade("legacy", answers={"q1": "name"}, seed=1)
    assert graded.message == ",name"
    assert graded.grade == 100


async def test_choices_and_matches_need_no_sandbox(grade: Grade) -> None:
    good = await grade("choices", answers={"one": "0", "more": ["0", "1"], "word": " 42 "})
    assert (good.result, good.grade) == ("success", 100)
    assert good.problems["one"].message == "good"
    bad = await grade("choices", answers={"one": "1", "more": ["0", "2"], "word": "42"})
    assert (bad.result, bad.problems["one"].message) == ("failed", "Wrong answer\n\nbad")
    assert bad.grade is not None
    assert round(bad.grade, 2) == 33.33
    assert to_result(bad).verdict is Verdict.PARTIAL


async def test_the_tutorial_is_right_and_wrong(grade: Grade) -> None:
    first, fourth = (TUTORIAL / name for name in ("01_getting_started", "04_run_student"))
    assert (await grade(first, answers={"question1": 'print("Hello, world!")'})).grade == 100
    wrong = await grade(first, answers={"question1": "print(1)"})
    assert (wrong.result, wrong.grade) == ("failed", 0)
    assert ".. code-block:: text\n\n\t1\n" in wrong.message
    assert (await grade(fourth, answers={"question1": "print(a + b)"})).grade == 100
    half = await grade(fourth, answers={"question1": "print(3)"})
    assert (half.result, half.grade) == ("failed", 50)


@pytest.mark.parametrize(
    ("word", "grade_then", "verdict"),
    [
        ("failed", 0, Verdict.FAILED),
        ("timeout", 0, Verdict.TIMED_OUT),
        ("overflow", 0, Verdict.OUT_OF_MEMORY),
        ("crash", 0, Verdict.CRASHED),
        ("ssh", None, Verdict.ERROR),
    ],
)
async def test_every_word_has_a_verdict_and_a_grade_where_none_is_given(
    grade: Grade, word: str, grade_then: float | None, verdict: Verdict
) -> None:
    result = to_result(await grade("shell", answers={"q1": word}))
    assert (result.verdict, result.grade) == (verdict, grade_then), result.detail


async def test_every_flag_of_run_student_works_from_a_shell(grade: Grade) -> None:
    more = {"@lti_context": "7"}
    graded = await grade("shell", answers={"q1": "success"}, more=more)
    assert (graded.result, graded.grade) == ("success", 100), (graded.detail, graded.stderr)
    assert graded.custom == {
        "container": [0, "given"], "time": [253, ""], "hard": [253, ""], "memory": [252, ""],
        "network": [251, ""], "root": [251, ""], "teardown": [0, ""],
        "torn": [0, "scripts torn"], "shared": [0, "page common fr common-fr"], "lti": [0, "7"],
    }  # fmt: skip
    boxes = graded.problems["q1"].message
    assert [boxes.count(f"alert-{kind}") for kind in ("success", "info", "warning", "danger")] == [
        1, 1, 1, 1,
    ]  # fmt: skip


async def test_problems_of_plugins_are_texts_for_the_grader(grade: Grade) -> None:
    graded = await grade("plugins", answers={name: f"<{name}>" for name in "abcdefg"})
    assert graded.custom["answers"] == [f"<{name}>" for name in "abcdefg"]
    assert "unknown kind 'network_trace'" in str(graded.remarks)


@pytest.mark.parametrize("name", ["devices", "devices-ssh"])
async def test_a_task_for_devices_that_are_not_there_is_refused(grade: Grade, name: str) -> None:
    with pytest.raises(InvalidTask, match="devices of the host"):
        await grade(name, answers={"q1": "x"})


async def test_a_grader_may_name_the_python_of_inginious_where_its_images_have_it(
    grade: Grade, tmp_path: Path
) -> None:
    written = "name: Python\nenvironment: default\nproblems: {q1: {type: match, answer: a}}\n"
    (tmp_path / "task.yaml").write_text(written)
    (tmp_path / "run").write_text(
        "#! /bin/inginious-ipython\nshown = ! echo $0 is here\n"
        "set_global_result('success')\nset_global_feedback(get_input('q1') + shown.s)\n"
    )
    (tmp_path / "run").chmod(0o755)
    graded = await grade(tmp_path, answers={"q1": "b"})
    assert (graded.result, graded.grade) == ("success", 100), graded
    assert graded.message.endswith("is here")
