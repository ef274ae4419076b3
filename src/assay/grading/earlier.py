"""What a learner has handed in before: how often, and what the last one has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from assay.domain.submission import State, Submission
from assay.grading.offered import Before
from assay.grading.results import Verdict
from assay.grading.submissions import Submissions

_AT_ONCE: Final = 50


class _Record(msgspec.Struct, frozen=True):
    inputs: dict[str, str] = {}


class _Result(msgspec.Struct, frozen=True):
    """The parts of a result that later submissions depend on."""

    verdict: Verdict
    state: str = ""
    record: _Record | None = None

    def before(self) -> Before | None:
        """After it, for who comes next; None: it does not say."""
        nth = "" if self.record is None else self.record.inputs.get("@attempts", "")
        if not nth.isdecimal():
            return None
        # What could not be graded costs no attempt.
        return Before(attempts=int(nth) - (self.verdict is Verdict.ERROR), state=self.state)


@dataclass(frozen=True, kw_only=True, slots=True)
class Whose:
    """Submissions of one learner for one task."""

    owner: str
    course: str
    task: str
    learner: str


async def before(submissions: Submissions, whose: Whose, *, until: str | None = None) -> Before:
    """What there was before the submission `until`, or before one that is yet to come."""
    counted = 0
    while True:
        page = await submissions.page(
            owner=whose.owner, course=whose.course, task=whose.task, learner=whose.learner,
            before=until, most=_AT_ONCE,
        )  # fmt: skip
        for each in page:
            last = await _left_by(submissions, each)
            if last is not None:
                return Before(attempts=last.attempts + counted, state=last.state)
            counted += is_attempt(each)
        if len(page) < _AT_ONCE:
            return Before(attempts=counted)
        until = page[-1].id


async def _left_by(submissions: Submissions, submission: Submission) -> Before | None:
    if submission.state is not State.DONE:
        return None
    found = await submissions.result(submission.id)
    return None if found is None else msgspec.json.decode(found, type=_Result).before()


def is_attempt(submission: Submission) -> bool:
    """Whether it counts, as far as its state tells.

    Who cancels what is being graded may have seen its first parts.
    """
    if submission.state is State.CANCELLED:
        return submission.attempts > 0
    return submission.state is not State.FAILED
