"""What a grader said, and how it ended -> a result. Whatever is unknown, or broken, is no pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.inginious.hypertext import from_html
from assay.grading.inginious.problems import Problem, check
from assay.grading.inginious.text import to_markdown
from assay.grading.marks import NO_GRADE
from assay.grading.results import Archive, Delays, PartResult, Result, Verdict
from assay.grading.script.grader import Ended
from assay.grading.script.kit import Answer

_VERDICTS: Final[Mapping[str, Verdict]] = {
    "success": Verdict.PASSED,
    "failed": Verdict.FAILED,
    "timeout": Verdict.TIMED_OUT,
    "overflow": Verdict.OUT_OF_MEMORY,
    "crash": Verdict.CRASHED,
    "error": Verdict.ERROR,
}
_BEST: Final = "success"
WORDS: Final = frozenset(_VERDICTS) - {"error"}
"""What a grader may say."""
_OF_LIMITS: Final[Mapping[OutcomeKind, tuple[str, str]]] = {
    OutcomeKind.TIMED_OUT: ("timeout", "The grader, or what it ran, took too long."),
    OutcomeKind.OUT_OF_MEMORY: ("overflow", "The grader, or what it ran, took too much memory."),
    OutcomeKind.OUTPUT_LIMIT: ("overflow", "The grader, or what it ran, wrote too much."),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GradedPart:
    """Of one problem."""

    result: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """A submission's result in INGInious' words. `grade` is None with the result "error"."""

    result: str
    grade: float | None
    message: str = ""
    """In reStructuredText (or HTML, as the task says), like those of the problems."""
    detail: str = ""
    """Why there is no grade, for teachers."""
    problems: Mapping[str, GradedPart] = field(default_factory=dict)
    tags: Mapping[str, bool | str] = field(default_factory=dict)
    custom: Mapping[str, object] = field(default_factory=dict)
    state: str = ""
    archive: Archive | None = None
    stdout: str = field(default="", repr=False)
    stderr: str = field(default="", repr=False)
    remarks: tuple[str, ...] = ()
    delays: Delays = field(default_factory=Delays)
    passing: str = ""
    """Why it may have a grade another time: what was missing is no fault of the task."""


def judge(ended: Ended, *, state: str, remarks: Sequence[str] = (), program: str = "") -> Graded:
    """Of a grader that has ended; `state` is the one of before, `program` what was to run it."""
    said = ended.said
    trouble = _trouble(ended, program)
    reached = ended.reached
    if reached is not None and reached.by_learner:
        ended = replace(ended, outcome=Outcome(kind=OutcomeKind.TIMED_OUT, clock="cpu"))
    if trouble:
        result, detail = "error", trouble
    elif ended.outcome.kind in _OF_LIMITS:
        result, detail = _OF_LIMITS[ended.outcome.kind]
    else:
        assert said.result is not None
        result, detail = said.result, "" if ended.outcome.success else _of_failure(ended)
    by_limit = ended.outcome.kind in _OF_LIMITS
    grade = None if result == "error" else 0.0 if by_limit else _grade(said.grade, result)
    return Graded(
        result=result,
        grade=grade,
        message=said.message or (detail if by_limit else ""),
        detail=detail,
        problems={
            name: GradedPart(result=part.result, message=part.message)
            for name, part in said.parts.items()
        },
        tags=dict(said.tags),
        custom=dict(said.custom),
        state=state if said.state is None or result == "error" else said.state,
        archive=ended.archive,
        stdout=ended.stdout.decode(errors="replace"),
        stderr=ended.stderr.decode(errors="replace"),
        remarks=tuple(remarks),
        delays=Delays(booting=ended.booting_seconds, grading=ended.grading_seconds),
        passing=trouble if _is_lost(ended) else "",
    )


def _is_lost(ended: Ended) -> bool:
    own = ended.outcome.kind in (OutcomeKind.LOST, OutcomeKind.CANCELLED)
    return (own or bool(ended.lost)) and ended.reached is None and not ended.faults


def _grade(said: float | None, result: str) -> float:
    if said is None:
        return 100.0 if result == _BEST else 0.0
    return min(100.0, max(0.0, said))


def _trouble(ended: Ended, program: str) -> str:
    """Why nobody can say what it is worth; "" where that can be said."""
    said, outcome = ended.said, ended.outcome
    if ended.reached is not None:
        what = ended.reached.what
        return "" if ended.reached.by_learner else f"The grader and its students took {what}."
    if ended.faults:
        return f"The task asks for too much: {ended.faults[0]}. Lower `memory` of `limits`."
    if ended.lost:
        return f"A student's sandbox could not be had, or was lost: {ended.lost[0]}"
    if outcome.kind in _OF_LIMITS:
        return ""
    if not outcome.success and not _may_stand(ended):
        return _of_no_program(ended, program) or _of_end(ended)
    if said.faults:
        return f"The grader did something wrong: {said.faults[0]}"
    if said.nothing:
        return "The grader gave no feedback at all."
    if said.result is None:
        return "The grader gave no result (feedback-result)."
    if said.result not in WORDS:
        return f"The grader gave {said.result[:80]!r}, which is no result."
    return ""


def _may_stand(ended: Ended) -> bool:
    """Whether the result counts though the status is not 0: it is no pass, and nothing killed it.

    Many graders end with a status of their own where they have found a mistake.
    """
    said = ended.said.result
    return ended.outcome.kind is OutcomeKind.EXITED and said in WORDS and said != _BEST


def _of_failure(ended: Ended) -> str:
    """For a teacher who wonders whether the grader came to its end."""
    lines = _complaints(ended)
    last = f" The last line of its standard error: {lines[-1][:300]}" if lines else ""
    return f"{_how(ended.outcome).capitalize()}, and what it had said counts: it is no pass.{last}"


_STATUSES: Final[Mapping[int, str]] = {
    126: "a shell's word for a file that it may not start: chmod +x it, or name its interpreter",
    127: "a shell's word for a command that is not there: install it in the environment's image,"
    " or remove the line that calls it",
}


def _of_no_program(ended: Ended, program: str) -> str:
    """Where nothing ran: a shell would have said which command of its is missing."""
    if not (ended.outcome.code in _STATUSES and ended.said.nothing and program):
        return ""
    if ended.stderr.strip() or ended.stdout.strip():
        return ""
    return (
        f"The grader could not be started: {program[:200]!r}, which is to run it, is not in the"
        " environment, or not to be executed. Install it in the environment's image, or let"
        " another environment stand for the task's container (--environment)."
    )


def _of_end(ended: Ended) -> str:
    """Words for a teacher whose grader ended otherwise than with 0, with what to do."""
    said, outcome = ended.said, ended.outcome
    lines = _complaints(ended)
    parts = [f"The grader did not end well: {_how(outcome)}."]
    if said.result is not None:
        grade = "" if said.grade is None else f" with {said.grade:g}"
        parts.append(f"What it said before ({said.result[:80]}{grade}) does not count.")
    if outcome.code is not None and outcome.code in _STATUSES:
        parts.append(f"{outcome.code} is {_STATUSES[outcome.code]}.")
    if lines:
        parts.append(f"The last line of its standard error: {lines[-1][:300]}")
    parts.append(
        "INGInious does not look at how a grader ends; Assay does, so that a grader that breaks"
        " half-way is no pass. If it is right as it is, let it end with: exit 0"
    )
    return " ".join(parts)


def _complaints(ended: Ended) -> list[str]:
    return ended.stderr.decode(errors="replace").strip().splitlines()


def _how(outcome: Outcome) -> str:
    if outcome.kind is OutcomeKind.EXITED:
        return f"its exit status was {outcome.code}"
    if outcome.kind is OutcomeKind.SIGNALED:
        return f"signal {outcome.signal} ended it"
    return str(outcome)


def judge_answers(
    problems: Sequence[Problem], answers: Mapping[str, Answer], *, remarks: Sequence[str] = ()
) -> Graded:
    """Of a task that needs no grader: each problem is right, or wrong."""
    if not problems or not all(each.is_answered_here for each in problems):
        kinds = ", ".join(sorted({each.kind for each in problems if not each.is_answered_here}))
        return Graded(
            result="error", grade=None, remarks=tuple(remarks),
            detail=f"This task has no grader, and problems that need one: {kinds or 'none at all'}",
        )  # fmt: skip
    checked = {each.id: check(each, answers.get(each.id)) for each in problems}
    wrong = sum(not each.right for each in checked.values())
    mistakes = sum(each.mistakes for each in checked.values())
    texts = [f"You have {wrong} wrong answer(s)."] if wrong else []
    if mistakes:
        texts.append(
            f"\n\nAmong them, you have {mistakes} invalid answers in the multiple choice questions"
        )
    return Graded(
        result="failed" if wrong else "success",
        grade=100.0 * (len(problems) - wrong) / len(problems),
        message="\n".join(texts),
        problems={
            name: GradedPart(result="success" if each.right else "failed", message=each.message)
            for name, each in checked.items()
        },
        remarks=tuple(remarks),
    )


def to_result(graded: Graded, *, now: datetime | None = None, hypertext: bool = False) -> Result:
    """The same in Assay's words, and in Markdown; `hypertext`: what the grader said is HTML.

    What learners are not to see before a time is left out unless `now` is later.
    """

    def said(text: str) -> str:
        return from_html(text) if hypertext else to_markdown(text, now)

    verdict = _VERDICTS[graded.result]
    if verdict is Verdict.FAILED and graded.grade:
        verdict = Verdict.PARTIAL
    message, detail = said(graded.message), [graded.detail, *graded.remarks]
    if verdict is Verdict.ERROR and message:
        detail.insert(1, f"What the grader said to the learner before: {message}")
    return Result(
        verdict=verdict,
        grade=graded.grade,
        message=NO_GRADE if verdict is Verdict.ERROR else message,
        detail="\n\n".join(filter(None, detail)),
        parts=tuple(_part(name, part, said) for name, part in graded.problems.items()),
        custom=graded.custom,
        tags=graded.tags,
        stdout=graded.stdout,
        stderr=graded.stderr,
        state=graded.state,
        archive=graded.archive,
        delays=graded.delays,
    )


def _part(name: str, part: GradedPart, said: Callable[[str], str]) -> PartResult:
    verdict = _VERDICTS.get(part.result, Verdict.NOT_RUN if not part.result else Verdict.CRASHED)
    return PartResult(
        id=name,
        verdict=verdict,
        score=1.0 if verdict is Verdict.PASSED else 0.0,
        message=said(part.message),
    )
