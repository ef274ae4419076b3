"""What linters write is read, and what is no output of theirs is refused."""

from __future__ import annotations

import time

import pytest

from assay.grading.linters import LINTERS, Unreadable, score, silenced
from assay.grading.tasks.model import SEVERITIES, Severity


@pytest.mark.parametrize(
    ("tool", "stdout", "stderr", "expected"),
    [
        ("flake8", b"'a.py'\t3\t'F401'\t\"'os' imported but unused\"\n", b"",
         "a.py:3: error: 'os' imported but unused [F401]"),
        ("flake8", b"'a.py'\t9\t'E302'\t'expected 2 blank lines'\n", b"",
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
        # What linters quote is the learner's: line breaks, halves of characters, other encodings.
        ("flake8", b"'a.py'\t1\t'F505'\t'no \\'a\\nq\\t\\xb2\\tE1\\tz'\n", b"",
         "a.py:1: error: no 'a\n    q\t²\tE1\tz [F505]"),
        ("flake8", b"'a.py'\t2\t'F505'\t'no \\ud800'\n", b"", "a.py:2: error: no \ud800 [F505]"),
        ("pylint",
         b'[{"type": "error", "path": "a.py", "line": 1, "symbol": "key",'
         b' "message": "no \\ud800\\na.py:9: well"}]', b"",
         "a.py:1: error: no \ud800\n    a.py:9: well [key]"),
        ("gcc", b"",
         b'[{"kind": "error", "message": "#error \\"gr\xf6sse \x01\\"",'
         b' "locations": [{"caret": {"file": "a.c", "line": 1}}]}]\n',
         'a.c:1: error: #error "gr\ufffdsse \x01" [error]'),
    ],
)  # fmt: skip
def test_a_finding_is_read(tool: str, stdout: bytes, stderr: bytes, expected: str) -> None:
    assert [str(each) for each in LINTERS[tool].read(stdout, stderr)] == [expected]


@pytest.mark.parametrize("tool", ["flake8", "pylint", "ruff", "shellcheck"])
def test_what_is_no_machine_format_is_refused(tool: str) -> None:
    with pytest.raises(Unreadable):
        LINTERS[tool].read(b"Traceback (most recent call last):\n", b"")


@pytest.mark.parametrize(
    ("tool", "written"),
    [
        ("flake8", b"a.py\t1\tF505\tno a\nq\t\xc2\xb2\tE1\tz\n"),
        ("flake8", b"'a.py'\t1\t'F505'\t'no a\nq\t2\tE1\tz'\n"),
        ("flake8", b"'a.py'\t\xc2\xb2\t'E1'\t'z'\n"),
        ("flake8", b"'a.py'\t" + b"1" * 5000 + b"\t'E1'\t'z'\n"),
        ("flake8", b"'a.py'\t1\t'E1'\t'\\N{no such}'\n"),
        ("flake8", b"'a.py'\t1\t'E1'\t'\xff'\n"),
        ("flake8", b"'a.py'\t1\t'E1'\t'z'\t'z'\n"),
        ("flake8", b"'a.py'\t1\t'E1'\t" + b"(" * 50_000 + b"\n"),
        ("flake8", b"\n"),
        ("pylint", b"\xff"),
        ("pylint", b"[" * 100_000),
        ("pylint", b"1" * 5000),
        ("pylint", b'[{"type": [], "path": "a.py", "line": 1, "symbol": "", "message": ""}]'),
        ("ruff", b""),
        ("ruff", b'[{"filename": "a.py", "location": {"row": Infinity}, "message": ""}]'),
        ("ruff", b'[{"filename": "a.py", "location": {"row": NaN}, "message": ""}]'),
        ("shellcheck", b'[{"file": "a", "line": 1e999, "level": "x", "code": 1, "message": ""}]'),
        ("shellcheck", b'{"file": "a"}'),
        ("gcc", b"[1]\n"),
        ("gcc", b'[{"kind": "error", "message": "", "locations": [null]}]'),
        ("gcc", b"[{]\r]"),
    ],
)
def test_odd_values_are_refused_in_one_way(tool: str, written: bytes) -> None:
    stdout, stderr = (b"", written) if tool == "gcc" else (written, b"")
    with pytest.raises(Unreadable):
        LINTERS[tool].read(stdout, stderr)


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
        ("pylint", b"# pylint: enable=C0103 disable=all", 1),
        ("pylint", b"# \x0c pylint: disable=all", 1),
        ("pylint", b"# \x0b\x1c\x85\xe2\x80\xa8 pylint: disable-next=all", 1),
        ("pylint", b"# pylint: enable=all", 0),
        ("pylint", b"# -*- coding: utf-7 -*-\n+ACM- pylint: disable=all", 1),
        ("pylint", b"#!/usr/bin/python3\n# vim: set fileencoding=UTF_7 :", 1),
        ("pylint", b"# coding=cp037", 1),
        ("pylint", b"# -*- coding: utf-8 -*-", 0),
        ("pylint", b"# coding: UTF_8-unix", 0),
        ("pylint", b"# coding=ISO-8859-15", 0),
        ("pylint", b"# coding: latin-1", 0),
        ("pylint", b"\n\n# coding: of what is to come", 0),
        ("shellcheck", b"# \x0cshellcheck disable=SC2086", 1),
        ("gcc", b'# 1 "style.c" 3', 1),
        ("gcc", b'\t#\t1/**/"style.c" 3', 1),
        ("gcc", b"# 5", 1),
        ("gcc", b'#line 1 "style.c"', 1),
        ("gcc", b"# 1 Introduction", 0),
        ("gcc", b'puts("# 1");', 0),
        ("gcc", b'#pragma/**/GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'#pragma/*/*/GCC/* \n */diagnostic ignored "-Wall"', 1),
        ("gcc", b'#pragma \\\n GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'#pra\\\r\ngma GCC diag\\ \t\nnostic ignored "-Wall"', 1),
        ("gcc", b'#pragma GCC /\\\n*\n*\\\n/ diagnostic ignored "-Wall"', 1),
        ("gcc", b'%:pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'??=pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'#pragma ??/\n GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'// what??/\n#pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'\xef\xbb\xbf#pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'int x;\r#pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b"#\x0bpragma\x0cGCC\0system_header", 1),
        ("gcc", b'/*\n*/ #pragma GCC diagnostic ignored "-Wall"', 1),
        ("gcc", b'char*a="/*";\n#pragma/**/GCC diagnostic ignored "-Wall"\nchar*b="*/";', 1),
        ("gcc", b'char*a="/*";\n#pragma/*/ */GCC/* /*/diagnostic ignored "-Wall"', 1),
        ("gcc", b"#pragma once /* */", 0),
        ("gcc", b"#define NONE /* */\n#\n/* */", 0),
        ("gcc", b"#if __has_include(</*>)\n#endif\n#pragma GCC diagnostic push\n/**/", 1),
        ("gcc", b'_Pra\\\ngma("GCC diagnostic ignored \\"-Wall\\"")', 1),
        ("gcc", b'P(_Pra, gma)("GCC diagnostic ignored \\"-Wall\\"")', 1),
        ("gcc", b"#pragma omp parallel for", 0),
        ("gcc", b"#pragma GCC poison gets", 0),
        ("gcc", b"#define LINE(line) #line", 0),
        ("gcc", b"int x; // see #pragma GCC diagnostic", 0),
        ("pylint", b"# " + b"pylint:" * 70_000, 0),
        ("pylint", b"# " + b"coding: utf-8 " * 40_000, 0),
        ("pylint", b"# coding" * 60_000, 0),
        ("shellcheck", b"#" + b" " * 500_000, 0),
        ("gcc", b"/*" * 250_000, 0),
        ("gcc", b"/**/" * 125_000, 0),
        ("gcc", b"/*\n*/" * 100_000, 0),
        ("gcc", b"a#/*" * 120_000 + b"*/" * 10_000, 0),
        ("gcc", b"*/#" * 160_000, 0),
        ("gcc", b"/*/" * 160_000, 0),
        ("gcc", b"# 1\n" * 120_000, 500),
        ("pylint", b"# pylint: disable=all\n" * 20_000, 500),
        ("gcc", b"/*" + b"* " * 250_000, 0),
        ("gcc", b"*/ " * 160_000, 0),
        ("gcc", b"\\\n" * 250_000, 0),
        ("gcc", b"\\ " * 250_000, 0),
        ("gcc", b"??/\n" * 120_000, 0),
        ("gcc", b" " * 500_000, 0),
        ("gcc", b"\n" * 500_000, 0),
        ("gcc", b"\r" * 500_000, 0),
        ("gcc", b"#1" * 250_000, 0),
        ("gcc", b"# " + b"1" * 500_000, 1),
        ("gcc", b"(GCC " * 100_000, 0),
    ],
)
def test_a_line_that_silences_a_linter_is_found(tool: str, line: bytes, found: int) -> None:
    started = time.process_time()
    assert len(silenced(LINTERS[tool], "a", line)) == found
    assert time.process_time() - started < 1  # the server does nothing else meanwhile


def test_a_finding_is_at_the_first_line_of_those_that_are_one() -> None:
    source = (
        b"/* one\n*/\nint a, \\\r\n b;\r\n#pra\\\n\\\ngma/*\n*/GCC diagnostic pop\n\n# 1\n_Pragma"
    )
    found = silenced(LINTERS["gcc"], "a", source)
    assert [each.line for each in found] == [5, 10, 11]


def test_findings_cost_by_their_severity() -> None:
    findings = silenced(LINTERS["pylint"], "a", b"# pylint: disable=all\n" * 3)
    assert score(findings, SEVERITIES, 10) == pytest.approx(0.7)
    assert score(findings, {**SEVERITIES, Severity.ERROR: 0.0}, 10) == 1.0
    assert score(findings * 9, SEVERITIES, 10) == 0.0
