"""`assay task test`: recorded submissions, graded again by the command itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from assay.bench.grading import TUTORIAL
from assay.config import Settings

HERE = Path(__file__).parent
GOOD = """\
input: {question1: 'print("Hello, world!")', '@username': ada, '@lang': en}
result: success
grade: 100.0
problems: {}
tests: {}
text: Well done.
"""


def run(settings: Settings, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "assay", "--state", str(settings.state), "task", "test"]
    return subprocess.run(
        [*argv, "--driver", "lean", *more, str(folder)], capture_output=True, text=True, timeout=100
    )


def test_a_case_that_is_as_it_was_passes_and_another_says_what_differs(
    settings: Settings, tmp_path: Path
) -> None:
    task = tmp_path / "course/01_getting_started"
    shutil.copytree(TUTORIAL / "01_getting_started", task)
    (task / "test").mkdir()
    (task / "test/good.test").write_text(GOOD)
    done = run(settings, tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True

    (task / "test/bad.test").write_text(GOOD.replace("Hello", "Goodbye"))
    (task / "test/broken.test").write_text("input: [")
    done = run(settings, tmp_path, "--json")
    assert done.returncode == 1
    tests = {each["name"]: each for each in json.loads(done.stdout)["tests"]}
    assert tests["good"]["passed"] is True
    assert [each.split(" was ")[0] for each in tests["bad"]["problems"]] == ["result", "grade"]
    assert "broken.test" in tests["broken"]["problems"][0]
    assert (tests["good"]["said"], "Goodbye" in tests["bad"]["said"]) == ("", True)
    table = run(settings, tmp_path)
    assert table.returncode == 1
    assert "the grader says now:" in table.stdout
    assert "Goodbye" in table.stdout
    assert "3 recorded: 2 not worth what was recorded" in table.stdout


def test_a_folder_without_tasks_is_refused(settings: Settings, tmp_path: Path) -> None:
    done = run(settings, tmp_path)
    assert done.returncode != 0
    assert "this is no task" in done.stderr


def graded(settings: Settings, *arguments: str) -> tuple[int, dict[str, Any], str]:
    argv = [sys.executable, "-m", "assay", "--state", str(settings.state), "grade", "--json"]
    done = subprocess.run(
        [*argv, "--driver", "lean", *arguments], capture_output=True, text=True, timeout=100
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_one_submission_is_graded_by_the_command_line(settings: Settings, tmp_path: Path) -> None:
    """Files by the names of their problems, texts, choices, inputs; and again from a file."""
    task = str(HERE / "course/commands")
    for name, content in (("q1.py", "first\nsecond @@@username@@"), ("q2.txt", "one\ntwo\n")):
        (tmp_path / name).write_text(content)
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    answers = ("--answer", "q3=42", "--answer", "q4=0", "--answer", "q5=anything")
    inputs = ("--learner", "ada", "--input", "@email=ada@example.org")
    archive, saved = str(tmp_path / "kept.tar.gz"), str(tmp_path / "saved.json")
    files = ("--archive", archive, "--save", saved, task, str(tmp_path))
    status, result, words = graded(settings, *answers, *inputs, *files)
    # The grader wants a file called notes.txt: q2.txt is another one.
    assert (status, result["grade"]) == (3, None)
    assert "line" in result["detail"]
    assert "kept nothing" in words
    again, found, _ = graded(settings, "--record", saved)
    assert (again, found["remarks"]) == (3, [])
    status, result, words = graded(settings, *answers, task, str(tmp_path / "notes.txt"))
    assert (status, result) == (2, {})
    assert "for which of q1, q2, q5?" in words
    word = str(HERE / "course/shell")
    (tmp_path / "mine").write_text("crash")
    status, result, _ = graded(settings, word, str(tmp_path / "mine"))
    assert (status, result["verdict"], result["grade"]) == (1, "crashed", 0)
    status, _, words = graded(settings, word)
    assert (status, "q1 is missing" in words) == (2, True)
