"""Small mistakes in right programs: where they are made, and where never."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.environments import Syntax, bundled_folder, load_all
from assay.grading.trials.mutants import chosen, mutants_of
from assay.grading.trials.mutants.python import mutants as in_python
from assay.grading.trials.mutants.tokens import code, mutants

ENVIRONMENTS = {each.name: each for each in load_all([bundled_folder()])[0]}


def syntax(name: str) -> Syntax:
    found = ENVIRONMENTS[name].trials.mutants
    assert found is not None
    return found


def made(name: str, source: str) -> list[str]:
    return [mutant.source for mutant in mutants("file", source, syntax(name))]


def python(source: str) -> set[str]:
    return {mutant.source.strip() for mutant in in_python("main.py", source)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a + b", "a - b"),
        ("a < b", "a <= b"),
        ("a == b", "a != b"),
        ("a and b", "a or b"),
        ("x = not a", "x = a"),
        ("x = True", "x = False"),
        ("x = 7", "x = 8"),
        ("x = 7", "x = 6"),
        ("a += 1", "a -= 1"),
        ("print('x')", "pass"),
        ("if a:\n    b()", "if not a:\n    b()"),
        ("def f():\n    return 1", "def f():\n    return None"),
        ("for i in range(n):\n    b()", "for i in range(n + 1):\n    b()"),
    ],
)
def test_a_python_program_has_mutants_of_each_kind(before: str, after: str) -> None:
    assert after in python(before)


def test_all_python_mutants_are_python_and_none_is_the_program() -> None:
    source = 'def f(a, b=[1]):\n    """Text."""\n    return {**b, "k": f"{a!r:>{3}} x"}[-1:]\n'
    whole = ast.unparse(ast.parse(source))
    for text in python(source):
        ast.parse(text)
        assert text != whole


def test_docstrings_imports_and_the_main_guard_are_left_alone() -> None:
    source = '"""Text."""\nimport os\nif __name__ == "__main__":\n    main()\n'
    assert python(source) == {'"""Text."""\nimport os\nif __name__ == \'__main__\':\n    pass'}


def test_what_is_no_python_has_no_mutants() -> None:
    assert in_python("main.py", "def f(:\n") == []


def test_mutants_say_where_and_what() -> None:
    (first, *_) = in_python("main.py", "\n\nx = a < b\n")
    assert str(first) == "main.py:3: without x = a < b"
    (first, *_) = mutants("m.c", "int x;\nif (a < b)\n", syntax("c"))
    assert str(first) == "m.c:2: if (a < b) → if (a <= b)"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("c", "// a < b 1\n"),
        ("c", "/* 1 < 2\n 3 */"),
        ("c", "#include <a.h>\n"),
        ("c", 'f("1 < 2 \\" 3");'),
        ("c", "p->next; a1; 0x10; 1.5;"),
        ("bash", "# 1 -lt 2\n"),
        ("bash", "echo a # 1\n"),
        ("bash", "echo '1 -lt 2' $1 $#\n"),
        ("sql", "-- 1 = 2\nSELECT 'a = 1';"),
        ("javascript", "f(`1 < 2\n3`)"),
        ("haskell", "{- 1 < 2 -} f = g -- 1\n"),
    ],
)
def test_comments_and_texts_have_no_mutants(name: str, source: str) -> None:
    assert made(name, source) == []


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("c", "a <= b;", ["a < b;"]),
        ("c", "a << b;", []),
        ("java", "a && b;", ["a || b;"]),
        ("java", "i++;", ["i--;"]),
        ("c", "x = 9UL;", ["x = 10UL;", "x = 8UL;"]),
        ("c", "x = 0;", ["x = 1;"]),
        ("bash", '[ "$a" -lt $b ]', ['[ "$a" -le $b ]']),
        ("bash", "x=$((a + b))", ["x=$((a - b))"]),
        ("sql", "SELECT a WHERE b = c;", ["SELECT a WHERE b <> c;"]),
        ("haskell", "f a = a `div` b", ["f a = a `mod` b"]),
    ],
)
def test_signs_words_and_numbers_are_exchanged(name: str, before: str, after: list[str]) -> None:
    assert made(name, before) == after


@given(st.text(alphabet="ab1 <>=+-*/\"'#`\\\n(){}", max_size=60))
def test_code_is_found_in_any_text_and_mutants_differ_in_one_place(source: str) -> None:
    for name in ("c", "bash", "javascript", "sql", "haskell"):
        stretches = list(code(source, syntax(name)))
        assert all(start < end for start, end in stretches)
        assert stretches == sorted(stretches)
        for mutant in mutants("file", source, syntax(name)):
            assert mutant.source != source
            assert 1 <= mutant.line <= source.count("\n") + 1


def test_the_same_task_has_the_same_mutants_and_another_one_others() -> None:
    source = {"main.py": b"".join(b"x%d = %d\n" % (n, n) for n in range(100))}
    every = mutants_of(source, syntax("python"))
    assert chosen(every, 10, "sha256:a") == chosen(every, 10, "sha256:a")
    assert chosen(every, 10, "sha256:a") != chosen(every, 10, "sha256:b")
    lines = [mutant.line for mutant in chosen(every, 10, "sha256:a")]
    assert len(lines) == 10
    assert lines == sorted(lines)
    assert chosen(every, 10_000, "") == every


def test_what_is_no_utf8_has_no_mutants() -> None:
    assert mutants_of({"main.py": b"\xff = 1"}, syntax("python")) == []


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name != "sql"])
def test_the_starter_of_every_language_has_mutants(name: str) -> None:
    trials = ENVIRONMENTS[name].trials
    assert trials.mutants is not None
    assert len(mutants_of({"main": trials.sums.encode()}, trials.mutants)) >= 2
