"""What linters write is read, and what is no output of theirs is refused."""

from __future__ import annotations

import time

import pytest

from assay.grading.linters import LINTERS, Unreadable, score, silenced
from assay.grading.tasks.model import SEVERITIES, Severity


@pytest.mark.parametrize(
    ("tool", "stdout", "stderr", "expected"),
    [
        ("flake8", b"a.py\t3\tF401\t'os' imported but unused\n", b"",
         "a.py:3: error: 'os' imported but unused [F401]"),
        ("flake8", b"a.py\t9\tE302\texpected 2 blank lines\n", b"",
         "a.py:9: style: expected 2 blank lines [E302]"),
        ("pylint",
         b'[{"type": "convention", "path": "a.py", "line": 1, "symbol": "missing-docstring",'
         b' "message": "Missing", "column": 0}]', b"",
         "a.py:1: convention: Missing [missing-docstring]"),
        ("ruff",
         b'[{"filename": "/workspace/a.py", "location": {"row": 2, "column": 1},'
         b' "message": "unused", "code": "F401"}]', b"",
         "a.py:2: error: unused [F401]"),
        ("shellcheck",
         b'[{"file": "a.sh", "line": 4, "level": "info", "code": 2086, "message": "quote"}]', b"",
         "a.sh:4: info: quote [SC2086]"),
        ("gcc", b"",
         b'[{"kind": "warning", "message": "unused", "option": "-Wunused-variable",'
         b' "locations": [{"caret": {"file": "a.c", "line": 5}}]}]\n',
         "a.c:5: warning: unused [-Wunused-variable]"),
    ],
)  # fmt: skip
def test_a_finding_is_read(tool: str, stdout: bytes, stderr: bytes, expected: str) -> None:
    assert [str(each) for each in LINTERS[tool].read(stdout, stderr)] == [expected]


@pytest.mark.parametrize("tool", ["flake8", "pylint", "ruff", "shellcheck"])
def test_what_is_no_machine_format_is_refused(tool: str) -> None:
    with pytest.raises(Unreadable):
        LINTERS[tool].read(b"Traceback (most recent call last):\n", b"")


@pytest.mark.parametrize(
    ("tool", "line", "found"),
    [
        ("pylint", b"import os  # pylint: disable=all", 1),
        ("shellcheck", b"# shellcheck disable=SC2086", 1),
        ("gcc", b'#pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b"#pragma once", 0),
        ("pylint", b"# a word of pylint", 0),
        ("pylint", b"# one # pylint : skip-file", 1),
        ("pylint", b"pylint: disable # nothing", 0),
        ("shellcheck", b"x # one # shellcheck source=a disable=b", 1),
        ("pylint", b"#" * 500_000, 0),
        ("pylint", b"# pylint" * 70_000, 0),
        ("shellcheck", b"# shellcheck " * 40_000, 0),
        ("gcc", b"#  " * 200_000, 0),
    ],
)
def test_a_line_that_silences_a_linter_is_found(tool: str, line: bytes, found: int) -> None:
    started = time.process_time()
    assert len(silenced(LINTERS[tool], "a", line)) == found
    assert time.process_time() - started < 1  # the server does nothing else meanwhile


def test_findings_cost_by_their_severity() -> None:
    findings = silenced(LINTERS["pylint"], "a", b"# pylint: disable=all\n" * 3)
    assert score(findings, SEVERITIES, 10) == pytest.approx(0.7)
    assert score(findings, {**SEVERITIES, Severity.ERROR: 0.0}, 10) == 1.0
    assert score(findings * 9, SEVERITIES, 10) == 0.0
