"""Grading again what was graded, in a campaign: proposals until somebody applies them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from assay.domain.submission import State

MOST_IN_CAMPAIGN: Final = 20_000
"""Submissions: they get their places in one transaction, for which all others wait."""


class CampaignState(StrEnum):
    """What has become of a campaign."""

    OPEN = "open"
    """It is graded, or waits for somebody to apply or discard it."""
    APPLIED = "applied"
    DISCARDED = "discarded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Campaign:
    """What is known of one; every time ending in `_at` is on the database's clock."""

    id: str
    """Those that came later are greater."""
    owner: str
    """The token's id of who started it, or "" on a server without authentication."""
    key: str | None
    course: str
    task: str | None
    """None: of any task of the course."""
    asked: bytes = field(repr=False)
    """What was asked for, as JSON; the storage does not look into it."""
    state: CampaignState = CampaignState.OPEN
    created_at: float = 0.0
    ended_at: float | None = None
    ended_by: str | None = None
    """The token's id of who applied or discarded it."""
    outcome: bytes | None = field(default=None, repr=False)
    """What applying it did, as JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """One submission of a campaign that is being started."""

    submission: str
    learner: str
    task: str
    environment: str
    task_hash: str
    """Of the version that it is graded with now."""
    seed: int | None
    revision: int
    """Of its result, which the campaign's is compared with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One submission of a campaign, with both results, as JSON."""

    run: str
    """The id of its grading in the queue."""
    submission: str
    learner: str
    task: str
    submitted_at: float
    task_hash: str
    """Of the version that it is graded with now."""
    state: State
    """Of the grading in the queue."""
    revision: int
    """Of the result that it is compared with."""
    current: int
    """Of the submission's result now: another number means that something else has changed it."""
    old: bytes | None = field(repr=False)
    new: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Former:
    """A result that was replaced."""

    revision: int
    result: bytes = field(repr=False)
    campaign: str
    replaced_at: float
    replaced_by: str
    """The token's id of who applied the campaign."""
