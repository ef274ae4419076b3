"""Comparing outputs, adding up marks, and the words for learners: functions of data."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent.execution import Completed
from assay.domain.errors import TaskFault
from assay.domain.facts import Facts
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading import feedback
from assay.grading.attempt import Stopwatch
from assay.grading.checkers import difference
from assay.grading.desk import part_for_learner
from assay.grading.graders import cases
from assay.grading.marks import late_factor, of_parts, of_tests, verdict_for
from assay.grading.patterns import matches
from assay.grading.results import PartResult, Verdict
from assay.grading.results import TestResult as OfTest
from assay.grading.tasks import Case, Checker, CheckerKind, Compiles, LateFactor, Rules, Task

EXACT, BYTES, TOKENS, NUMBERS = (
    Checker(kind=kind)
    for kind in (CheckerKind.EXACT, CheckerKind.BYTES, CheckerKind.TOKENS, CheckerKind.NUMBERS)
)


@pytest.mark.parametrize(
    ("checker", "expected", "got"),
    [
        (EXACT, b"a\nb\n", b"a  \nb\n\n\n"),
        (EXACT, b"a\nb", b"a\r\nb\r\n"),
        (EXACT, b"", b"\n"),
        (BYTES, b"\0\xff", b"\0\xff"),
        (TOKENS, b"1 2\n3", b"1\n2 3"),
        (NUMBERS, b"0.1 x", b"0.10000000001 x"),
        (NUMBERS, b"1e3", b"1000.0"),
        (replace(NUMBERS, absolute=0.5), b"10", b"10.4"),
        (replace(EXACT, ignore_case=True), b"Hello", b"hELLO"),
    ],
)
def test_what_is_as_good_as_equal_is_right(checker: Checker, expected: bytes, got: bytes) -> None:
    assert difference(checker, expected, got) is None


@pytest.mark.parametrize(
    ("checker", "expected", "got", "said"),
    [
        (EXACT, b"a\nb\n", b"a\nc\n", "line 2 differs: expected 'b', got 'c'"),
        (EXACT, b"a\nb\n", b"a\n", "line 2 is missing: expected 'b'"),
        (EXACT, b"a\n", b"a\nb\n", "line 2 is too much: 'b'"),
        (EXACT, b" a", b"a", "line 1 differs"),
        (EXACT, b"a\n\nb", b"a\nb", "line 2 differs: expected nothing, got 'b'"),
        (BYTES, b"a\n", b"a", "byte 2 differs: expected '\\n', got nothing"),
        (TOKENS, b"1 2", b"1 3", "word 2 differs"),
        (NUMBERS, b"1.0", b"1.1", "word 1 differs"),
        (NUMBERS, b"1", b"nan", "word 1 differs"),
        (NUMBERS, b"1000", b"1_000", "word 1 differs"),
        (replace(NUMBERS, absolute=1e9), b"inf", b"1e300", "word 1 differs"),
        (NUMBERS, b"1", b"9" * 100_000, "word 1 differs"),
        (EXACT, b"a", b"\x1b[31ma", r"'\x1b[31ma'"),
        (EXACT, b"a", b"x" * 100, "…"),
    ],
)
def test_the_first_difference_is_said(
    checker: Checker, expected: bytes, got: bytes, said: str
) -> None:
    told = difference(checker, expected, got)
    assert told is not None
    assert said in told
    assert told.isprintable()


@given(st.binary(), st.binary(), st.sampled_from((EXACT, BYTES, TOKENS, NUMBERS)))
def test_any_bytes_are_compared_and_equal_ones_are_equal(
    one: bytes, other: bytes, checker: Checker
) -> None:
    assert difference(checker, one, one) is None
    told = difference(checker, one, other)
    assert told is None or len(told) < 1000


SLOW = "(a|a)*c|b"


async def test_a_pattern_that_takes_for_ever_for_a_short_text_is_the_tasks_fault() -> None:
    assert await matches("a+b", "aaab")
    assert await matches("a+b", "aaabc") is False
    assert await matches("A.B", "a\nb", ignore_case=True)
    with pytest.raises(TaskFault, match="takes more than 1 s"):
        await matches(SLOW, "a" * 5000 + "cb")
    with pytest.raises(TaskFault, match="no regular expression"):
        await matches("(", "")


@pytest.mark.parametrize("hidden", [False, True])
async def test_an_output_too_long_for_a_pattern_is_wrong_and_teachers_hear_why(
    hidden: bool,
) -> None:
    case = Case(name="one", expected=SLOW.encode(), hidden=hidden)
    test = await judged(case, Checker(kind=CheckerKind.PATTERN), b"a" * 20_000 + b"cb")
    assert (test.verdict, test.score) == (Verdict.FAILED, 0.0)
    assert "takes more than 1 s for a text of 20,002 characters" in test.detail
    assert "takes more than" not in test.message
    part = PartResult(id="p", verdict=Verdict.FAILED, score=0.0, tests=(test,))
    assert part_for_learner(part).tests[0].detail == ""


async def test_an_output_that_a_pattern_takes_is_right_however_long() -> None:
    case = Case(name="one", expected=b"(ab)*\n")
    test = await judged(case, Checker(kind=CheckerKind.PATTERN), b"ab" * 20_000 + b"\n")
    assert (test.verdict, test.score, test.detail) == (Verdict.PASSED, 1.0, "")


async def judged(case: Case, checker: Checker, output: bytes) -> OfTest:
    """The result of a program that prints so much, of which nothing has to run."""
    attempt: Any = None
    outcome = Outcome(kind=OutcomeKind.EXITED, code=0)
    completed = Completed(stdout=output, stderr=b"", facts=Facts(exit_code=0), outcome=outcome)
    return cases._result(case, completed, await cases._judged(case, checker, attempt, completed))


TEXTS = st.text("ab \n\r", max_size=12).map(str.encode)


@given(TEXTS, TEXTS)
def test_a_difference_is_found_as_if_all_of_the_output_were_read(
    expected: bytes, got: bytes
) -> None:
    def lines(text: bytes) -> list[bytes]:
        found = [line.rstrip() for line in text.split(b"\n")]
        while found and not found[-1]:
            found.pop()
        return found

    assert (difference(EXACT, expected, got) is None) == (lines(expected) == lines(got))
    assert (difference(TOKENS, expected, got) is None) == (expected.split() == got.split())


@pytest.mark.parametrize(("checker", "told"), [
    (EXACT, "line 3 is too much: 'y'"), (TOKENS, "word 3 is too much: 'y'"),
    (NUMBERS, "word 3 is too much: 'y'"),
])  # fmt: skip
def test_of_a_long_output_the_first_that_is_too_much_is_shown(checker: Checker, told: str) -> None:
    assert difference(checker, b"1\n2\n", b"1\n2\n" + b"y\n" * 1000) == told


async def test_others_go_on_while_long_outputs_are_compared() -> None:
    text = b"x " * 4_000_000
    case = Case(name="one", expected=text + b"y")
    comparing = asyncio.ensure_future(judged(case, BYTES, text + b"z"))
    turns = 0
    while not comparing.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert (await comparing).verdict is Verdict.FAILED
    assert turns > 3


# --- marks ---------------------------------------------------------------------------------------

PART = Compiles(id="p", weight=2.0)


def a_test(verdict: Verdict, score: float = 0.0, weight: float = 1.0) -> OfTest:
    return OfTest(name="t", verdict=verdict, score=score, weight=weight)


def a_part(part_id: str, verdict: Verdict, score: float, weight: float = 1.0) -> PartResult:
    return PartResult(id=part_id, verdict=verdict, score=score, weight=weight)


def a_task(*parts: Compiles, passing: float = 100.0) -> Task:
    return Task(
        id="t", folder=Path("/"), title="t", environment="e", parts=parts, passing_grade=passing
    )


def test_a_parts_score_is_its_tests_by_weight() -> None:
    made = of_tests(PART, [a_test(Verdict.PASSED, 1.0, 3), a_test(Verdict.FAILED)])
    assert (made.verdict, made.score, made.weight) == (Verdict.PARTIAL, 0.75, 2.0)


def test_all_or_nothing_is_nothing_when_one_fails() -> None:
    tests = [a_test(Verdict.PASSED, 1.0), a_test(Verdict.TIMED_OUT)]
    assert of_tests(PART, tests, all_or_nothing=True).score == 0.0


def test_a_part_without_any_mark_is_called_after_what_happened() -> None:
    assert of_tests(PART, [a_test(Verdict.TIMED_OUT)]).verdict is Verdict.TIMED_OUT
    assert of_tests(PART, [a_test(Verdict.FAILED)]).verdict is Verdict.FAILED


@pytest.mark.parametrize("tests", [[], [a_test(Verdict.PASSED, 1.0), a_test(Verdict.ERROR, 1.0)]])
def test_no_test_and_an_error_are_never_a_pass(tests: list[OfTest]) -> None:
    made = of_tests(PART, tests)
    assert (made.verdict, made.score) == (Verdict.ERROR, 0.0)


def test_tests_without_weight_give_nothing() -> None:
    assert of_tests(PART, [a_test(Verdict.PASSED, 1.0, 0.0)]).score == 0.0


def test_a_grade_is_the_parts_by_weight() -> None:
    task = a_task(Compiles(id="a", weight=1.0), Compiles(id="b", weight=3.0), passing=75.0)
    parts = [a_part("a", Verdict.FAILED, 0.0), a_part("b", Verdict.PASSED, 1.0, 3.0)]
    result = of_parts(task, parts)
    assert (result.grade, result.verdict) == (75.0, Verdict.PASSED)
    late = of_parts(task, parts, factor=0.5)
    assert (late.grade, late.verdict) == (37.5, Verdict.PARTIAL)
    assert "50 %" in late.message


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [a_part("a", Verdict.PASSED, 1.0)],
        [a_part("b", Verdict.PASSED, 1.0), a_part("a", Verdict.PASSED, 1.0)],
        [a_part("a", Verdict.PASSED, 1.0), a_part("b", Verdict.ERROR, 1.0)],
    ],
)
def test_without_every_parts_result_there_is_no_grade(parts: list[PartResult]) -> None:
    result = of_parts(a_task(Compiles(id="a"), Compiles(id="b")), parts)
    assert (result.grade, result.verdict) == (None, Verdict.ERROR)


def test_thirds_add_up_to_everything() -> None:
    tests = [a_test(Verdict.PASSED, 1.0, 0.1) for _ in range(3)]
    assert of_tests(PART, tests).verdict is Verdict.PASSED
    assert verdict_for(0.1 + 0.2 + 0.7) is Verdict.PASSED


def test_what_is_late_counts_less_and_then_no_more() -> None:
    deadline = datetime(2027, 1, 1, tzinfo=UTC)
    rules = Rules(
        opens=deadline - timedelta(days=7),
        deadline=deadline,
        late=(LateFactor(until=deadline + timedelta(days=1), factor=0.5),),
    )
    at = {
        name: late_factor(rules, deadline + timedelta(hours=hours))
        for name, hours in (("early", -24 * 8), ("in time", 0), ("late", 24), ("too late", 25))
    }
    assert at == {"early": None, "in time": 1.0, "late": 0.5, "too late": None}
    assert late_factor(Rules(), deadline) == 1.0


# --- words ---------------------------------------------------------------------------------------


@given(st.binary(max_size=5000))
def test_a_block_ends_where_we_end_it(text: bytes) -> None:
    lines = feedback.block(text).split("\n")
    fence = lines[-1]
    assert re.fullmatch("`{3,}", fence)
    assert lines[0] == fence + "text"
    assert not any(line.lstrip().startswith(fence) for line in lines[1:-1])
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", "\n".join(lines))


@pytest.mark.parametrize("text", ["```\n# Full marks", "a\n````\n`````text\n```", "`" * 500])
def test_no_fence_of_a_learners_ends_ours(text: str) -> None:
    *_, fence = lines = feedback.block(text).split("\n")
    assert not any(fence in line for line in lines[1:-1])


def test_a_long_text_is_shown_by_its_ends() -> None:
    shown = feedback.block(b"a" * 5000 + b"b" * 5000)
    assert len(shown) < 2200
    assert "8,000 bytes" in shown


@pytest.mark.parametrize("kind", OutcomeKind)
def test_every_end_of_a_program_has_words_and_a_verdict_that_gives_no_marks(
    kind: OutcomeKind,
) -> None:
    outcome = Outcome(kind=kind, code=1, signal=11, clock="cpu")
    assert feedback.words(outcome).endswith(".")
    assert feedback.verdict_of(outcome) not in (Verdict.PASSED, Verdict.PARTIAL)


def test_time_is_booting_only_while_nothing_runs() -> None:
    now = 0.0

    def clock() -> float:
        return now

    watch = Stopwatch(clock)
    with watch.waits():
        now = 1.0
        with watch.runs():
            now = 3.0
        now = 4.0
    now = 9.0
    watch.stop()
    assert (watch.booting, watch.grading) == (2.0, 7.0)
