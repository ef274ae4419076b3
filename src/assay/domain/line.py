"""What waits of one course, and who comes next of all courses: the values of the fair order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """All of one course and one priority that waits to be handed out.

    `due` and `served` are on a virtual clock: seconds of grading, divided by the weight. Of several
    lines the one that is due first is served.
    """

    course: str
    priority: int
    waiting: int = 0
    due: float = 0.0
    """When its next submission is due."""
    served: float = 0.0
    """When the latest that was handed out was due."""
    turn: int = 0
    """The latest turn of which one was handed out: in each turn every learner has one."""
    weight: float = 1.0
    seconds: float | None = None
    """What grading one of this course takes on average; None: never seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What gradings of one course took since this was told last."""

    gradings: int
    seconds: float
    """All together."""


class LineKey(NamedTuple):
    """What names a line."""

    priority: int
    course: str


class Newcomer(NamedTuple):
    """One who hands something in."""

    line: LineKey
    learner: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """What becomes of those who come."""

    turns: tuple[int, ...]
    """Of each, in the order in which they came."""
    lines: tuple[Line, ...]
    """All that have changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """What is taken of one line."""

    line: Line
    """As it is afterwards, but for its `turn`."""
    take: int
