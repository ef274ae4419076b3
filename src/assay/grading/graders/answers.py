"""Questions: nothing is run."""

from __future__ import annotations

from assay.grading.attempt import Attempt
from assay.grading.feedback import paragraphs
from assay.grading.marks import verdict_for
from assay.grading.patterns import matches
from assay.grading.results import PartResult
from assay.grading.tasks.model import Choice, Match


async def grade_choice(part: Choice, attempt: Attempt) -> PartResult:
    """What was chosen: all or nothing, or each choice by itself."""
    chosen = attempt.submission.answers.get(part.id, ())
    assert isinstance(chosen, tuple)
    right = [choice.right == (number in chosen) for number, choice in enumerate(part.choices)]
    if not chosen:
        score = 0.0
    elif part.all_or_nothing or not part.several:
        score = float(all(right))
    else:
        # Who chooses everything, or nothing, has half of it right by no merit.
        score = max(0.0, 2 * sum(right) / len(right) - 1)
    said = paragraphs(
        "" if chosen else "This question was not answered.",
        *(part.choices[number].feedback for number in chosen),
    )
    return _result(part, score, said)


async def grade_match(part: Match, attempt: Attempt) -> PartResult:
    """A short answer, white space around it aside."""
    given = attempt.submission.answers.get(part.id, "")
    assert isinstance(given, str)
    given = given.strip()
    score = 0.0
    for answer in part.answers if given else ():
        if await _same(part, answer, given):
            score = 1.0
            break
    said = "" if given else "This question was not answered."
    return _result(part, score, said if score else paragraphs(said, part.hint))


async def _same(part: Match, answer: str, given: str) -> bool:
    if part.pattern:
        return await matches(answer, given, ignore_case=part.ignore_case) is True
    if part.ignore_case:
        return answer.strip().casefold() == given.casefold()
    return answer.strip() == given


def _result(part: Choice | Match, score: float, message: str) -> PartResult:
    return PartResult(
        id=part.id, verdict=verdict_for(score), score=score, weight=part.weight, message=message
    )
