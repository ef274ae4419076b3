"""Folders of tasks and courses, right and wrong ones, and what learners hand in."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from assay.domain.errors import InvalidSubmission, InvalidTask
from assay.grading.tasks import (
    Cases,
    CheckerKind,
    Choice,
    Match,
    bundle_of,
    load_course,
    load_task,
    submission_of,
)

GOOD = """\
title = "Add two numbers"
environment = "python"
files = ["sum.py"]
optional = ["notes.txt"]
passing_grade = 50

[limits]
wall_seconds = 5

[sandbox]
memory = "128 MiB"

[rules]
attempts = 10
deadline = 2027-01-31T23:59:00Z
late = [{ until = 2027-02-02T23:59:00Z, factor = 0.5 }]

[[parts]]
id = "examples"
kind = "cases"
folder = "cases"

[[parts]]
id = "more"
kind = "cases"
weight = 2
hidden = true
needs = ["examples"]
checker = { kind = "numbers", absolute = 0.01 }
random = { argv = ["python3", "make.py"], count = 2 }

[[parts.cases]]
name = "one"
stdin = "1 1"
expected = "2"
exit_code = "any"

[[parts]]
id = "planet"
kind = "choice"
choices = [{ text = "Mars", right = true }, { text = "Pluto", feedback = "Not any more." }]

[[parts]]
id = "capital"
kind = "match"
answers = ["Paris"]
ignore_case = true
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str = GOOD, **files: str) -> Path:
        folder = tmp_path / "sum"
        for name, content in {
            "task.toml": text,
            "cases/1.in": "1 2\n",
            "cases/1.out": "3\n",
            "cases/10.in": "",
            "cases/10.out": "",
            "cases/2.out": "",
            "cases/2.args": "a\nb\n",
            "solution/sum.py": "print(3)\n",
            "make.py": "",
            "description.md": "# Add\n",
            **files,
        }.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return folder

    return write


def test_a_task_is_read_with_all_that_lies_beside_it(write: Write) -> None:
    task, bundle = load_task(write())
    assert (task.id, task.title, task.environment, task.weight) == (
        "sum", "Add two numbers", "python", 5.0,
    )  # fmt: skip
    examples, more, planet, capital = task.parts
    assert isinstance(examples, Cases)
    assert [case.name for case in examples.cases] == ["1", "2", "10"]
    assert examples.cases[1].arguments == ("a", "b")
    assert isinstance(more, Cases)
    assert more.checker.kind is CheckerKind.NUMBERS
    assert more.random is not None
    assert more.random.hidden
    assert more.cases[0].hidden
    assert more.cases[0].exit_code is None
    assert isinstance(planet, Choice)
    assert isinstance(capital, Match)
    assert task.solution == {"sum.py": b"print(3)\n"}
    assert task.rules.late[0].until == datetime(2027, 2, 2, 23, 59, tzinfo=UTC)
    assert task.description == "# Add\n"
    assert bundle.digest.startswith("sha256:")


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('title = "Add two numbers"\n', "", "title: this key is missing"),
        ('title = "Add', 'titel = "x"\ntitle = "Add', "titel: there is no such key; keys: title,"),
        ('kind = "choice"', 'kind = "guess"', "parts[2].kind: "),
        ('id = "planet"', 'id = "more"', "parts[2].id: 'more' is there twice"),
        ('needs = ["examples"]', 'needs = ["planet"]', "before this one is called 'planet'"),
        ('needs = ["examples"]', 'needs = ["more"]', "no part before this one is called 'more'"),
        ("weight = 2", "weight = -2", "parts[1].weight: "),
        ("weight = 2", "weight = nan", "parts[1].weight: "),
        ('folder = "cases"', 'folder = "cazes"', "the folder 'cazes' has no *.in and *.out"),
        ('folder = "cases"', "", "parts[0]: there are no cases"),
        ('files = ["sum.py"]', 'files = ["../sum.py"]', "'../sum.py' cannot be a file's name"),
        ('files = ["sum.py"]', 'files = ["/sum.py"]', "cannot be a file's name"),
        ('files = ["sum.py"]', 'files = ["other.py"]', "the reference solution lacks other.py"),
        ('files = ["sum.py"]', "", "runs a program, and none is handed in"),
        ("right = true", "right = false", "0 of them are right, and one can be chosen"),
        ('"python"', '"Py thon"', "environment: this has the wrong form; write the name of"),
        ("wall_seconds = 5", "wall_seconds = -5", "limits: wall_seconds must be more than zero"),
        ('memory = "128 MiB"', 'memory = "lots"', 'write a size such as "256 MiB"'),
        ("23:59:00Z\nlate", "23:59:00\nlate", "deadline: this time has no zone"),
        ("2027-02-02", "2027-01-02", "the times are not in order"),
        ("passing_grade = 50", "passing_grade = 0", "passing_grade: "),
        ("passing_grade = 50", "passing_grade = 101", "passing_grade: "),
        ('kind = "numbers"', 'kind = "program"', "parts[1].checker.argv: "),
        ('answers = ["Paris"]', 'answers = ["("]\npattern = true', "is no regular expression"),
        ('name = "one"', 'name = "one\\u001b[31m"', "parts[1].cases[0].name: "),
        ("title = ", "title == ", "this is not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    write: Write, before: str, after: str, complaint: str
) -> None:
    assert before in GOOD
    folder = write(GOOD.replace(before, after, 1))
    with pytest.raises(InvalidTask) as caught:
        load_task(folder)
    assert str(folder / "task.toml") in caught.value.message
    assert complaint in caught.value.message


def test_a_part_with_what_is_expected_missing_is_wrong(write: Write) -> None:
    folder = write()
    (folder / "cases" / "3.in").write_text("")
    with pytest.raises(InvalidTask, match=r"3\.out is missing"):
        load_task(folder)


def test_random_cases_need_a_reference_solution(write: Write) -> None:
    folder = write()
    (folder / "solution" / "sum.py").unlink()
    with pytest.raises(InvalidTask, match="'more' expects is what the reference solution says"):
        load_task(folder)


def test_a_folder_without_a_task_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match="assay task new"):
        load_task(tmp_path)
    with pytest.raises(InvalidTask, match="a task is a folder"):
        load_task(tmp_path / "nowhere")


# --- bundles -------------------------------------------------------------------------------------


def test_the_digest_changes_with_content_name_and_mode_and_with_nothing_else(write: Write) -> None:
    folder = write()
    seen = {bundle_of(folder).digest}
    os.utime(folder / "make.py", (1, 1))
    (folder / ".hidden").write_text("x")
    (folder / "make.py~").write_text("x")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    assert bundle_of(folder).digest in seen
    for change in (
        lambda: (folder / "make.py").write_text("1"),
        lambda: (folder / "make.py").chmod(0o755),
        lambda: (folder / "make.py").rename(folder / "made.py"),
    ):
        change()
        digest = bundle_of(folder).digest
        assert digest not in seen
        seen.add(digest)


@pytest.mark.parametrize("target", ["/etc/passwd", "task.toml", "../../.."])
def test_links_are_refused(write: Write, target: str) -> None:
    folder = write()
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidTask, match="a task holds files and folders only"):
        load_task(folder)


def test_a_pipe_is_refused_and_not_waited_for(write: Write) -> None:
    folder = write()
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidTask, match="files and folders only"):
        load_task(folder)


def test_a_folder_that_is_too_large_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write()
    monkeypatch.setattr("assay.grading.tasks.bundle.BYTES_MOST", 100)
    with pytest.raises(InvalidTask, match="at most"):
        bundle_of(folder)


# --- submissions ---------------------------------------------------------------------------------


def test_a_submission_has_what_the_task_asks_for(write: Write) -> None:
    task, _ = load_task(write())
    made = submission_of(task, {"sum.py": b"x"}, {"planet": 1, "capital": "paris"})
    assert made.answers == {"planet": (1,), "capital": "paris"}


@pytest.mark.parametrize(
    ("files", "answers", "complaint"),
    [
        ({}, {}, "sum.py is missing"),
        ({"sum.py": b"", "evil.py": b""}, {}, "'evil.py' is not asked for"),
        ({"sum.py": b"", "../sum.py": b""}, {}, "is not asked for"),
        ({"sum.py": b"", "make.py": b""}, {}, "is not asked for"),
        ({"sum.py": b"x" * (4 * 1024 * 1024 + 1)}, {}, "at most 4 MiB"),
        ({"sum.py": b""}, {"nobody": 1}, "no question 'nobody'"),
        ({"sum.py": b""}, {"examples": 1}, "no question 'examples'"),
        ({"sum.py": b""}, {"planet": 2}, "numbers from 0 to 1"),
        ({"sum.py": b""}, {"planet": -1}, "numbers from 0 to 1"),
        ({"sum.py": b""}, {"planet": True}, "numbers from 0 to 1"),
        ({"sum.py": b""}, {"planet": "0"}, "numbers from 0 to 1"),
        ({"sum.py": b""}, {"planet": [0, 1]}, "one answer"),
        ({"sum.py": b""}, {"capital": 7}, "is a text"),
        ({"sum.py": b""}, {"capital": "x" * 10_001}, "is a text"),
    ],
)
def test_anything_else_is_refused_in_words_for_the_learner(
    write: Write, files: dict[str, bytes], answers: dict[str, object], complaint: str
) -> None:
    task, _ = load_task(write())
    with pytest.raises(InvalidSubmission, match=complaint):
        submission_of(task, files, answers)


# --- courses -------------------------------------------------------------------------------------


def test_a_course_has_its_tasks_in_order_and_says_which_are_wrong(
    write: Write, tmp_path: Path
) -> None:
    write()
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "task.toml").write_text("title = 3")
    (tmp_path / "no task").mkdir()
    (tmp_path / "course.toml").write_text('title = "Try"\ntasks = ["zebra"]\nshare = 2')
    course = load_course(tmp_path)
    assert (course.title, course.share) == ("Try", 2.0)
    assert [task.id for task, _ in course.tasks] == ["sum"]
    assert [str(tmp_path / "zebra") in problem.message for problem in course.broken] == [True]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "title: this key is missing"),
        ('title = "x"\ntasks = ["nope"]', "there is no task 'nope'"),
        ('title = "x"\nshare = 0', "share: "),
        ('title = "x"\nadmins = []', "there is no such key; keys: title, tasks, share"),
    ],
)
def test_a_wrong_course_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "course.toml").write_text(text)
    with pytest.raises(InvalidTask, match=complaint):
        load_course(tmp_path)


def test_a_folder_that_is_no_course_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match=r"a course is a folder with course\.toml"):
        load_course(tmp_path)
