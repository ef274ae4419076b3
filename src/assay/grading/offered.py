"""A task of any kind, as a server offers it: what it shows, takes in, and how it grades."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from assay.domain.errors import InvalidTask
from assay.driver.port import Secret
from assay.grading.attempt import Stopwatch
from assay.grading.joint import Seats
from assay.grading.places import Places
from assay.grading.record import Record
from assay.grading.references import References
from assay.grading.results import PartResult, Result
from assay.grading.script.rooms import Rooms
from assay.grading.tasks import Bundle, Rules


class Sandboxes(Rooms, Places, Protocol):
    """For graders of every kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One that is handed in."""

    content: bytes = field(repr=False)
    name: str = ""
    """Its own, where what it is handed in for has another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What is handed in, before anybody has looked at it."""

    files: Mapping[str, File] = field(default_factory=dict)
    answers: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What a grader may know of the learner, such as `@lang`."""


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of it."""

    files: dict[str, bytes]
    answers: dict[str, str | list[int | str]]
    names: dict[str, str] = {}
    """Of files that have one of their own."""
    inputs: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownPart:
    """What a learner may know of a part."""

    id: str
    title: str
    kind: str
    weight: float = 1.0
    description: str = ""
    """Markdown."""
    choices: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    """Numbers of the choices to show, in this order."""
    several: bool = False
    cases: tuple[str, ...] = ()
    language: str = ""
    template: str = ""
    """What to begin with."""
    optional: bool = False
    extensions: tuple[str, ...] = ()
    """Of a file: how its name may end."""
    most_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What a learner may know of a task."""

    title: str
    description: str
    """Markdown."""
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    template: Mapping[str, bytes] = field(default_factory=dict)
    parts: tuple[ShownPart, ...] = ()
    passing_grade: float = 100.0
    randoms: tuple[float, ...] = ()
    """The learner's own."""
    evaluate: str = "best"
    """Which submission of a learner's counts: "best" or "last"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """What is known of a learner's submissions for a task before this one."""

    attempts: int = 0
    """Those that count."""
    state: str = ""
    """What the last one has left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grading:
    """One that is to be graded, and with what."""

    course: str
    learner: str
    content: Content
    seed: int
    submitted_at: float
    sandboxes: Sandboxes
    factor: float = 1.0
    """What it counts, being late."""
    before: Before = field(default_factory=Before)
    seats: Seats = field(default_factory=lambda: Seats(2))
    few: Seats | None = None
    """The same where there are no more sandboxes than seats."""
    at_once: int = 16
    references: References = field(default_factory=References)
    again: Record | None = None
    """It is to be done as it was then."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    on_part: Callable[[PartResult], object] = lambda part: None

    @property
    def owner(self) -> str:
        """In whose name sandboxes are taken: learners take turns."""
        return f"{self.course}/{self.learner}"


class Offered(Protocol):
    """A task of a course."""

    @property
    def id(self) -> str:
        """Its folder's name."""
        ...

    @property
    def title(self) -> str:
        """One line."""
        ...

    @property
    def kind(self) -> str:
        """Of its folder: "assay" or "inginious"."""
        ...

    @property
    def environment(self) -> str:
        """In which it is graded; "" where nothing is run."""
        ...

    @property
    def rules(self) -> Rules:
        """When and how often it may be handed in."""
        ...

    @property
    def weight(self) -> float:
        """Its share of the course's grade."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """For teachers: what of its files is not known, or not done."""
        ...

    @property
    def visible_tags(self) -> frozenset[str]:
        """Tags that learners may see."""
        ...

    @property
    def looks_back(self) -> bool:
        """Whether anything of a submission depends on those before it."""
        ...

    @property
    def renews_seed(self) -> bool:
        """Whether each submission of a learner has a seed of its own that the learner is shown."""
        ...

    @property
    def remembers(self) -> bool:
        """Whether a submission depends on what the one before has left: then there is one at a
        time of each learner."""
        ...

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """All that it is made of, to be kept; the first one has the task's digest."""
        ...

    def seed(self, key: Secret, who: str, before: Before) -> int | None:
        """From which everything random is made for somebody's next submission; None: any.

        Whoever doesn't know the key can't foresee it.
        """
        ...

    def shown(self, seed: int | None, language: str = "") -> Shown:
        """What a learner may see, who has this seed; None: nobody in particular.

        In a language such as "fr", where the task has that.
        """
        ...

    def accept(self, given: Given) -> Content:
        """What is to be kept of what is handed in. Raises InvalidSubmission."""
        ...

    async def grade(self, grading: Grading) -> Result:
        """What it is worth. Raises what may be otherwise another time, and InvalidTask."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedCourse:
    """A course with all of its tasks that could be read."""

    id: str
    title: str
    tasks: tuple[Offered, ...] = ()
    broken: tuple[InvalidTask, ...] = ()
    """What is wrong with the others."""
    remarks: tuple[str, ...] = ()
    """For teachers: what of it is not known, or not done."""
    share: float = 1.0
    """Of the graders' time, beside other courses, when there is not enough for all."""
