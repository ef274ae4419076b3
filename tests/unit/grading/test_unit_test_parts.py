"""Parts with unit tests and linters in task.toml: what makes no sense is said with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import InvalidTask
from assay.grading.tasks import Framework, Lint, Severity, UnitTests, load_task

HEAD = 'title = "T"\nenvironment = "python"\nfiles = ["a.py"]\n[[parts]]\nid = "one"\n'
TESTS = 'kind = "unit_tests"\nframework = "pytest"\ntests = ["tests/test_a.py"]\n'
JUNIT = 'kind = "unit_tests"\nframework = "junit"\ntests = ["tests/A.java"]\n'


def folder(path: Path, text: str) -> Path:
    (path / "tests").mkdir()
    (path / "tests/test_a.py").write_text("")
    (path / "tests/A.java").write_text("")
    (path / "solution").mkdir()
    (path / "solution/a.py").write_text("")
    (path / "task.toml").write_text(HEAD + text)
    return path


def test_a_part_with_unit_tests_is_read(tmp_path: Path) -> None:
    task, _ = load_task(folder(tmp_path, TESTS + 'weights = { test_b = 2 }\nfresh = "file"\n'))
    (part,) = task.parts
    assert isinstance(part, UnitTests)
    assert (part.framework, part.tests) == (Framework.PYTEST, ("tests/test_a.py",))
    assert (part.weights, part.fresh, part.same_process) == ({"test_b": 2.0}, "file", False)


def test_a_part_with_a_linter_keeps_the_weights_that_it_does_not_change(tmp_path: Path) -> None:
    text = 'kind = "lint"\ntool = "flake8"\nweights = { style = 0 }\n'
    (part,) = load_task(folder(tmp_path, text))[0].parts
    assert isinstance(part, Lint)
    assert (part.weights[Severity.STYLE], part.weights[Severity.ERROR]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TESTS.replace("test_a", "test_b"), "there is no file 'tests/test_b.py'"),
        (TESTS.replace("test_a.py", "A.java"), "is no file for pytest"),
        (TESTS + "same_process = true\n", "in a sandbox of its own"),
        (TESTS + 'objects = ["Vector"]\n', "a class is named with its module"),
        (JUNIT, "can forge their results; say same_process = true"),
        (TESTS.replace("pytest", "mocha"), "framework"),
        ('kind = "lint"\ntool = "eslint"\n', "tool"),
        ('kind = "lint"\ntool = "flake8"\nweights = { note = 1 }\n', "weights"),
    ],
)
def test_a_part_that_makes_no_sense_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidTask, match=r"task\.toml") as caught:
        load_task(folder(tmp_path, text))
    assert problem in str(caught.value)
