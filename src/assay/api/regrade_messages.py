"""What is asked of campaigns, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from assay.api.grades import ResultAnswer
from assay.grading.regrading.wish import NEWEST

WhichName = Literal["all", "best", "last"]
VerdictName = Literal[
    "passed", "partial", "failed", "timed_out", "out_of_memory", "output_limit", "crashed",
    "not_run", "error",
]  # fmt: skip


class RegradeIn(msgspec.Struct, rename="camel", kw_only=True):
    """Which submissions are graded again; a filter that is left out leaves nothing out."""

    task: str | None = None
    learner: str | None = None
    since: datetime | None = None
    """Handed in then or later."""
    until: datetime | None = None
    """Handed in before."""
    which: WhichName = "all"
    """Of each learner's for a task, among what the filters above leave."""
    below: float | None = None
    """Grades less than this, and what has none."""
    verdicts: list[VerdictName] = []
    submissions: Annotated[list[str], Meta(max_length=20_000)] = []
    version: str = NEWEST
    """"newest", "recorded" (of each grade's own record, with its limits), or a task's digest."""
    note: str = ""
    key: str | None = None
    """Your own name for it: the same one twice is one campaign."""


class ProgressAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """How far it is, in submissions."""

    total: int
    waiting: int
    grading: int
    done: int
    failed: int
    cancelled: int
    seconds: float | None
    """Until all is graded, if nothing else comes; null: unknown."""


class AppliedAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What applying it did, in submissions; all but the first stay as they were."""

    applied: int
    kept: int
    failed: int
    unfinished: int
    changed: int


class CampaignAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A campaign."""

    id: str
    course: str
    task: str | None
    state: str
    """"open", "applied" or "discarded"."""
    finished: bool
    """Whether nothing of it is to be graded any more."""
    version: str
    which: str
    note: str
    started_at: datetime
    started_by: str
    """The token's id."""
    ended_at: datetime | None
    ended_by: str | None
    progress: ProgressAnswer
    applied: AppliedAnswer | None
    new: bool | None = None
    """False where the key had been used before."""


class CampaignList(msgspec.Struct, kw_only=True):
    """Campaigns, the newest first."""

    regrades: list[CampaignAnswer]


class PartChange(msgspec.Struct, rename="camel", kw_only=True):
    """A part whose result differs; null: there is no such part in that version."""

    id: str
    old_verdict: str | None
    new_verdict: str | None
    old_score: float | None
    new_score: float | None


class DifferenceAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """One submission."""

    submission: str
    learner: str
    task: str
    submitted_at: datetime
    change: str
    """"up", "down", "same", "failed", "pending" or "cancelled"."""
    old_grade: float | None
    new_grade: float | None
    old_verdict: str | None
    new_verdict: str | None
    parts: list[PartChange]
    remarks: list[str]
    """What else differs: version, image, limits."""
    reason: str
    """Why it could not be graded."""
    conflict: bool
    """Something else has replaced its result since."""


class SummaryAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """The whole, in submissions; mean grades of those that have both."""

    up: int
    down: int
    same: int
    failed: int
    pending: int
    cancelled: int
    conflicts: int
    old_mean: float | None
    new_mean: float | None


class ReportAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a campaign would change, or has changed."""

    summary: SummaryAnswer
    differences: list[DifferenceAnswer]


class ApplyIn(msgspec.Struct, rename="camel", kw_only=True):
    """How it is applied."""

    only_up: bool = False
    """Never lower a grade."""
    unfinished: bool = False
    """Now, although some are not graded yet: these stay as they are."""
    skip_changed: bool = False
    """Leave alone what something else has changed, instead of applying nothing."""


class FormerAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A result that a campaign has replaced."""

    revision: int
    campaign: str
    replaced_at: datetime
    replaced_by: str
    """The token's id."""
    result: ResultAnswer


class HistoryAnswer(msgspec.Struct, kw_only=True):
    """Replaced results, the oldest first."""

    history: list[FormerAnswer]
