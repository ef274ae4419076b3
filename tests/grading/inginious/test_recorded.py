"""`assay task test`: recorded submissions, graded again by the command itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from assay.bench.grading import TUTORIAL
from assay.config import Settings

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
    cases = {each["case"]: each for each in json.loads(done.stdout)["cases"]}
    assert cases["good"]["passed"] is True
    assert [each["what"] for each in cases["bad"]["differences"] if each["counts"]] == [
        "result",
        "grade",
    ]
    assert "broken.test" in cases["broken"]["problem"]
    table = run(settings, tmp_path)
    assert table.returncode == 1
    assert "1 of 3 as they were" in table.stdout


def test_a_folder_without_tasks_is_refused(settings: Settings, tmp_path: Path) -> None:
    done = run(settings, tmp_path)
    assert done.returncode != 0
    assert "no task of INGInious" in done.stderr
