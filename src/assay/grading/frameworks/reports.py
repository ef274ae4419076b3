"""What a grading sandbox tells of unit tests, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from assay.domain.errors import GradingLost, TaskFault
from assay.domain.facts import Measurement
from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading import feedback
from assay.grading.frameworks.students import Ended
from assay.grading.results import TestResult, Verdict
from assay.grading.tasks.model import UnitTests

TESTS_MOST = 2000


class Told(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A test's result, in the words of its framework."""

    id: str
    outcome: str
    message: str = ""
    detail: str = ""
    broken: str = ""
    """Why the learner's process was of no use any more."""
    slow: bool = False
    """Whether that is because a call took too long."""


@dataclass(kw_only=True, slots=True)
class Report:
    """All that was told, in order."""

    ids: Sequence[str] | None = None
    told: dict[str, tuple[Told, Ended | None]] = field(default_factory=dict)
    fault: str | None = None
    finished: bool = False

    def collect(self, ids: Sequence[str]) -> None:
        """These are the tests; nothing else counts. Raises TaskFault."""
        if self.ids is not None or len(set(ids)) != len(ids) or len(ids) > TESTS_MOST:
            raise TaskFault(
                f"tests are found once, have different names, and are at most {TESTS_MOST}"
            )
        if not ids:
            raise TaskFault("there are no tests in the files that task.toml names")
        self.ids = ids

    def add(self, told: Told, ended: Ended | None) -> None:
        """One test has ended. Raises TaskFault for one that isn't there, or comes again."""
        if self.ids is None or told.id not in self.ids or told.id in self.told:
            raise TaskFault(f"the framework tells of a test that is none: {told.id[:200]!r}")
        self.told[told.id] = told, ended


def require_whole(report: Report, outcome: Outcome, stderr: bytes) -> Sequence[str]:
    """The ids of all tests, if the framework came to its end. Raises TaskFault, GradingLost."""
    if outcome.kind in (OutcomeKind.LOST, OutcomeKind.CANCELLED):
        raise GradingLost(f"a sandbox was lost: {outcome.reason or 'cancelled'}")
    if report.fault is not None:
        raise TaskFault("the tests are at fault", detail=feedback.block(report.fault))
    if report.ids is None:
        raise TaskFault(
            f"no tests could be had: it ended with {outcome}", detail=feedback.block(stderr)
        )
    late = outcome.kind is OutcomeKind.TIMED_OUT
    if not late and not (outcome.success and report.finished):
        raise TaskFault(
            f"the framework ended with {outcome} before all tests had been run",
            detail=feedback.block(stderr),
        )
    return report.ids


def results(part: UnitTests, report: Report, ids: Sequence[str]) -> list[TestResult]:
    """A result for each test that there is, told of or not. Raises TaskFault."""
    weights = weights_of(part, ids)
    return [_result(part, name, weights[name], report) for name in ids]


def weights_of(part: UnitTests, ids: Iterable[str]) -> dict[str, float]:
    """The weight of each test. Raises TaskFault for one of a test that there isn't."""
    weights = dict.fromkeys(ids, 1.0)
    for name, weight in part.weights.items():
        meant = [each for each in weights if each == name or _last(each) == name]
        if not meant:
            raise TaskFault(
                f"there is no test {name!r}, which has a weight; tests: {', '.join(weights)[:1000]}"
            )
        weights.update(dict.fromkeys(meant, weight))
    return weights


def _last(name: str) -> str:
    """What a test is called by itself, "::" or "." before it."""
    return name.rpartition("::")[2] if "::" in name else name.rpartition(".")[2]


def _result(part: UnitTests, name: str, weight: float, report: Report) -> TestResult:
    told, ended = report.told.get(name, (None, None))
    verdict, why = _judged(told, ended)
    passed = verdict is Verdict.PASSED
    said = "" if passed else _said(told, ended, why)
    full = feedback.block(told.detail) if told and told.detail and not passed else ""
    facts = None if ended is None else ended.facts
    return TestResult(
        name=name,
        verdict=verdict,
        score=float(passed),
        weight=weight,
        hidden=part.hidden,
        message="" if part.hidden else said,
        detail=feedback.paragraphs(said, full) if part.hidden else full,
        outcome=ended.outcome if ended is not None and ended.by_itself else None,
        wall_seconds=_seconds(facts.wall_ns) if facts else None,
        cpu_seconds=_seconds(facts.cpu_ns) if facts else None,
        peak_memory_bytes=facts.peak_memory_bytes.value
        if facts and facts.peak_memory_bytes
        else None,
    )


def _judged(told: Told | None, ended: Ended | None) -> tuple[Verdict, str]:
    """Passed is only what was told to be, with a learner's process that was well to the end."""
    if told is None:
        return Verdict.NOT_RUN, "This test did not complete."
    if ended is not None and ended.by_itself:
        return feedback.verdict_of(
            ended.outcome
        ), f"{feedback.words(ended.outcome)} A test was not over yet."
    if told.slow:
        return Verdict.TIMED_OUT, f"The test was ended: {told.broken}."
    if told.broken:
        return Verdict.CRASHED, f"The test was ended: {told.broken}."
    if told.outcome == "passed":
        return Verdict.PASSED, ""
    if told.outcome == "skipped":
        return Verdict.NOT_RUN, "This test was skipped."
    return Verdict.FAILED, ""


def _said(told: Told | None, ended: Ended | None, why: str) -> str:
    message = "" if told is None or why else feedback.block(told.message)
    printed = b"" if ended is None else ended.stderr
    return feedback.paragraphs(why, message, feedback.section("Errors", printed) if printed else "")


def _seconds(measured: Measurement | None) -> float | None:
    return None if measured is None else measured.value / 1e9
