"""The five delays of a submission's way, from what each who had it in hand has measured."""

from __future__ import annotations

from dataclasses import replace

from assay.domain.submission import Submission
from assay.grading.results import Delays


def of_the_way(graded: Delays, submission: Submission) -> Delays:
    """With what the queue knows: they follow one another, without a gap, and none counts twice.

    `graded`: the grader's, whose waiting began when the submission was kept; but sending goes on
    until it is durable.
    """
    sending = submission.sending_seconds or 0.0
    kept_before = 0.0
    if submission.received_at is not None:
        kept_before = max(0.0, submission.received_at + sending - submission.submitted_at)
    return replace(
        graded,
        sending=sending,
        waiting=max(0.0, graded.waiting - kept_before),
        response=submission.response_seconds or 0.0,
    )
