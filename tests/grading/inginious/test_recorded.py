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
    tests = {each["name"]: each for each in json.loads(done.stdout)["tests"]}
    assert tests["good"]["passed"] is True
    assert [each.split(" was ")[0] for each in tests["bad"]["problems"]] == ["result", "grade"]
    assert "broken.test" in tests["broken"]["problems"][0]
    table = run(settings, tmp_path)
    assert table.returncode == 1
    assert "3 recorded: 2 not worth what was recorded" in table.stdout


def test_a_folder_without_tasks_is_refused(settings: Settings, tmp_path: Path) -> None:
    done = run(settings, tmp_path)
    assert done.returncode != 0
    assert "this is no task" in done.stderr
