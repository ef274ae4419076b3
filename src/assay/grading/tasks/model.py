"""What a task is, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.environments.document import Execution, Sandbox
from assay.grading.joint import JointLimits

EXACT_ZERO: Final = 0
"""The exit status that a program must end with unless a case says another one."""


class CheckerKind(StrEnum):
    """How a program's output is compared with what is expected."""

    EXACT = "exact"
    """Byte for byte, but for white space at the ends of lines and empty lines at the end."""
    BYTES = "bytes"
    """Byte for byte."""
    TOKENS = "tokens"
    """Words between white space."""
    NUMBERS = "numbers"
    """Words, those that are numbers within a tolerance."""
    PATTERN = "pattern"
    """The whole output, white space at its end aside, matches a regular expression."""
    PROGRAM = "program"
    """A program of the task says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checker:
    """One way of comparing."""

    kind: CheckerKind = CheckerKind.EXACT
    ignore_case: bool = False
    absolute: float = 1e-9
    relative: float = 1e-9
    """Of NUMBERS: one of both tolerances suffices."""
    argv: tuple[str, ...] = ()
    """Of PROGRAM: it finds the files `input`, `expected` and `output` where it is started."""
    environment: str = ""
    """Of PROGRAM; the task's own unless it is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One input with the output that is expected. Of a hidden one learners see the name only."""

    name: str
    stdin: bytes = b""
    arguments: tuple[str, ...] = ()
    expected: bytes | None = None
    """None: any output will do."""
    exit_code: int | None = EXACT_ZERO
    """None: any."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """That lie beside the program."""
    weight: float = 1.0
    hidden: bool = False
    hint: str = ""
    """Markdown, for who fails it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomCases:
    """Cases that a program makes anew from each submission's seed.

    It is started with the seed and the case's number as its last arguments, and writes an input;
    what is expected is what the reference solution answers to that.
    """

    count: int
    argv: tuple[str, ...]
    environment: str = ""
    hidden: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Common:
    """What every part has."""

    id: str
    title: str = ""
    weight: float = 1.0
    """Of the part in the grade; 0: it gives feedback only."""
    needs: tuple[str, ...] = ()
    """Parts that must have all their marks, or else this one is not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cases(Common):
    """The program is run for each case, in a sandbox of its own."""

    checker: Checker = field(default_factory=Checker)
    cases: tuple[Case, ...] = ()
    random: RandomCases | None = None
    all_or_nothing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiles(Common):
    """The sources can be compiled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is true or false of a choice, and what to say to who takes it."""

    text: str
    right: bool
    feedback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice(Common):
    """A question with answers to choose from: their numbers, from 0, are handed in."""

    choices: tuple[Question, ...] = ()
    several: bool = False
    """Whether more than one may be chosen. Then each that is right, or rightly left, counts."""
    all_or_nothing: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Match(Common):
    """A question with a short answer."""

    answers: tuple[str, ...] = ()
    """Any of these is right."""
    ignore_case: bool = False
    pattern: bool = False
    """Whether they are regular expressions."""
    hint: str = ""


class Framework(StrEnum):
    """What runs a teacher's unit tests."""

    UNITTEST = "unittest"
    PYTEST = "pytest"
    DOCTEST = "doctest"
    """The one for C++."""
    JUNIT = "junit"
    NODE_TEST = "node:test"
    """The one that is in Node.js."""

    @property
    def isolates(self) -> bool:
        """Whether the learner's code is in another sandbox than the tests."""
        return self in (Framework.UNITTEST, Framework.PYTEST, Framework.NODE_TEST)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitTests(Common):
    """Tests of a framework call the learner's code."""

    framework: Framework
    tests: tuple[str, ...]
    """Files of the task's folder."""
    environment: str = ""
    """Of the framework; the task's own unless it is said."""
    hidden: bool = False
    all_or_nothing: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of tests, by their ids or what they are called; 1 for the others."""
    objects: tuple[str, ...] = ()
    """Classes of the learner's, as "module.Class", whose operators tests use."""
    fresh: str = "test"
    """For what the learner has a new process: "test" or "file"."""
    call_seconds: float = 5.0
    """That one call of the learner's code may take, on the clock."""
    same_process: bool = False
    """The teacher knows that the learner's code is linked with the tests, and can forge results."""


class Severity(StrEnum):
    """How bad a linter finds something."""

    ERROR = "error"
    WARNING = "warning"
    REFACTOR = "refactor"
    CONVENTION = "convention"
    STYLE = "style"
    INFO = "info"


SEVERITIES: Final[Mapping[Severity, float]] = MappingProxyType(
    {
        Severity.ERROR: 1.0,
        Severity.WARNING: 1.0,
        Severity.REFACTOR: 0.5,
        Severity.CONVENTION: 0.5,
        Severity.STYLE: 0.5,
        Severity.INFO: 0.0,
    }
)
"""What a finding costs unless the task says otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lint(Common):
    """A linter reads the learner's files; nothing of theirs is run."""

    tool: str
    environment: str = ""
    arguments: tuple[str, ...] = ()
    most: float = 10.0
    """Findings, weighed, for which nothing is left of the score."""
    weights: Mapping[Severity, float] = field(default_factory=lambda: SEVERITIES)


Part = Cases | Compiles | Choice | Match | UnitTests | Lint


@dataclass(frozen=True, kw_only=True, slots=True)
class LateFactor:
    """Until when a late submission counts so much."""

    until: datetime
    factor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """When and how often learners may submit."""

    attempts: int | None = None
    """Submissions that count; None: as many as one likes."""
    per_hours: float | None = None
    """In so many hours from the first of them on, and then anew; None: in all."""
    closed: bool = False
    """Nothing is taken at any time."""
    opens: datetime | None = None
    deadline: datetime | None = None
    late: tuple[LateFactor, ...] = ()
    """After the deadline; in order of time. After the last: no more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task."""

    id: str
    """Its folder's name."""
    folder: Path
    title: str
    environment: str
    files: tuple[str, ...] = ()
    """That a learner hands in; the first one is the program."""
    optional: tuple[str, ...] = ()
    """That a learner may hand in besides."""
    description: str = ""
    """Markdown."""
    template: Mapping[str, bytes] = field(default_factory=dict)
    """What learners begin with."""
    given: Mapping[str, bytes] = field(default_factory=dict)
    """What lies beside their files whenever they run; learners may read it."""
    solution: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The reference solution, or nothing."""
    build: tuple[str, ...] = ()
    """How it is compiled; as the environment does unless it is said."""
    run: tuple[str, ...] = ()
    """How it is run, likewise."""
    limits: Execution = field(default_factory=Execution)
    """Of each run; the environment's where nothing is said."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    joint: JointLimits = field(default_factory=JointLimits)
    """Of all sandboxes of one grading together."""
    rules: Rules = field(default_factory=Rules)
    passing_grade: float = 100.0
    parts: tuple[Part, ...] = ()

    @property
    def weight(self) -> float:
        """Of all parts together."""
        return sum(part.weight for part in self.parts)
