"""What a learner hands in to be graded, and what the queue knows of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

MOST_CONTENT_BYTES: Final = 8 * 1024 * 1024
"""Of one submission's files, as they are kept."""
MOST_LETTERS: Final = 200
"""Of each name: of courses, tasks, learners, environments, keys."""


class Priority(IntEnum):
    """Who goes first: as long as something live waits, nothing is graded again."""

    LIVE = 0
    """A learner waits for it."""
    REGRADE = 1
    """It was graded before."""


class State(StrEnum):
    """What has become of a submission."""

    WAITING = "waiting"
    """To be handed out, or, after a failure that was not the learner's, to be tried again."""
    LEASED = "leased"
    """A worker has it."""
    DONE = "done"
    FAILED = "failed"
    """Every attempt failed, never by the learner's fault: the result says so, without a grade."""
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self not in (State.WAITING, State.LEASED)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSubmission:
    """What is handed in."""

    course: str
    task: str
    learner: str
    content: bytes = field(repr=False)
    """The learner's files and answers; the queue does not look into them."""
    owner: str = ""
    """A token's id, or "" on a server without authentication."""
    priority: Priority = Priority.LIVE
    environment: str = ""
    task_hash: str = ""
    """Of the task as it was then."""
    seed: int | None = None
    key: str | None = None
    """The submitter's own name for it: the same one of the same owner is the same submission."""
    original: str | None = None
    """Of what is graded again: the submission whose content is graded; it has none of its own."""
    received_at: float | None = None
    """When its request began to arrive, on the database's clock; None: nobody has looked."""
    most_attempts: int | None = None
    """It is refused when its learner has had so many for its task; None: any number."""
    attempts_hours: float | None = None
    """So many in so many hours; None: in all."""
    alone: bool = False
    """It is refused while another one of its learner's for its task is not over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What is known of a submission but for its content and its result.

    Every time ending in `_at` is in seconds since 1970 on the database's clock.
    """

    id: str
    """Unguessable; those that came later are greater."""
    owner: str
    key: str | None
    course: str
    task: str
    learner: str
    priority: Priority
    state: State
    submitted_at: float
    environment: str
    task_hash: str
    seed: int | None
    attempts: int
    """How often it was handed out; what a worker gave back untouched doesn't count."""
    claim: int
    """The latest time that it was handed out: only that one's result counts."""
    not_before: float | None
    """When it is tried again."""
    claimed_at: float | None
    finished_at: float | None
    seconds: float | None
    """What grading it took."""
    received_at: float | None = None
    """When its request began to arrive; None: nobody has looked."""
    sending_seconds: float | None = None
    """From then until it was durable, or, where nobody lived to measure that, until it was kept."""
    graded_at: float | None = None
    """When its grading had ended."""
    response_seconds: float | None = None
    """From then until the result was durable, and in the hands of those who waited for it; where
    nobody lived to measure that, until it was kept."""
    original: str | None = None
    """It is no learner's: a campaign grades that submission again, and proposes a result."""
    revision: int = 0
    """How often a campaign has replaced its result."""
    verdict: str | None = None
    """Of its result; None: it has none yet."""
    grade: float | None = None
    """Of its result."""
    version: str | None = None
    """The digest of the task that its result was made with; None: `task_hash`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What can be known only after a submission's transaction, and is kept a little later."""

    id: str
    sending_seconds: float | None = None
    response_seconds: float | None = None
    """The longest one counts: of several who wait, the last one's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The answer to who handed something in: it is durable now."""

    id: str
    new: bool
    """False: the key was there already, and so is its submission."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptResult:
    """What came of a grading, as the queue keeps it; it does not look into the result."""

    result: bytes = field(repr=False)
    """As JSON, without its archive."""
    verdict: str | None = None
    """"error": it is nobody's attempt."""
    grade: float | None = None
    """From 0 to 100; None: there is none."""
    version: str = ""
    """The digest of the task that it was graded with; "": the one that it was handed in for."""
    archive: bytes | None = field(default=None, repr=False)
    """Files that its grader keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A submission in the hands of a worker."""

    submission: Submission
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How full the queue is."""

    waiting: int
    delayed: int
    """Of those that wait, not counted above: to be tried again later."""
    leased: int
    slots: int
    """How many can be graded at once, by all workers that live."""
