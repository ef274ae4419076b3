"""The shape of `task.toml`, key by key. docs/tasks.md explains what each means to a teacher."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from assay.environments.document import Argv, Execution, Sandbox, Size
from assay.environments.strict import Shape

Line = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,120}$")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]
Tolerance = Annotated[float, Meta(ge=0)]


class Checker(Struct, forbid_unknown_fields=True, frozen=True):
    """[parts.checker]"""

    kind: Literal["exact", "bytes", "tokens", "numbers", "pattern", "program"] = "exact"
    ignore_case: bool = False
    absolute: Tolerance = 1e-9
    relative: Tolerance = 1e-9
    argv: Argv | None = None
    environment: str = ""


class Case(Struct, forbid_unknown_fields=True, frozen=True):
    """[[parts.cases]]"""

    name: Line
    stdin: str = ""
    arguments: list[str] = []
    expected: str | None = None
    exit_code: Annotated[int, Meta(ge=0, le=255)] | Literal["any"] = 0
    files: dict[str, str] = {}
    weight: Weight = 1.0
    hidden: bool = False
    hint: str = ""


class Random(Struct, forbid_unknown_fields=True, frozen=True):
    """[parts.random]"""

    argv: Argv
    count: Annotated[int, Meta(ge=1, le=100)] = 3
    environment: str = ""


class Cases(Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="cases"):
    """[[parts]] with kind = "cases" """

    id: Id
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []
    folder: str = ""
    hidden: bool = False
    checker: Checker = Checker()
    cases: list[Case] = []
    random: Random | None = None
    all_or_nothing: bool = False


class Compiles(Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="compiles"):
    """[[parts]] with kind = "compiles" """

    id: Id
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []


class Answer(Struct, forbid_unknown_fields=True, frozen=True):
    """[[parts.choices]]"""

    text: str
    right: bool = False
    feedback: str = ""


class Choice(Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="choice"):
    """[[parts]] with kind = "choice" """

    id: Id
    choices: Annotated[list[Answer], Meta(min_length=2, max_length=100)]
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []
    several: bool = False
    all_or_nothing: bool = True


class Match(Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="match"):
    """[[parts]] with kind = "match" """

    id: Id
    answers: Annotated[list[str], Meta(min_length=1, max_length=100)]
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []
    ignore_case: bool = False
    pattern: bool = False
    hint: str = ""


class UnitTests(
    Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="unit_tests"
):
    """[[parts]] with kind = "unit_tests" """

    id: Id
    framework: Literal["unittest", "pytest", "doctest", "junit", "node:test"]
    tests: Annotated[list[str], Meta(min_length=1, max_length=100)]
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []
    environment: str = ""
    hidden: bool = False
    all_or_nothing: bool = False
    weights: dict[str, Weight] = {}
    objects: list[str] = []
    fresh: Literal["test", "file"] = "test"
    call_seconds: Annotated[float, Meta(gt=0, le=120)] = 5.0
    same_process: bool = False


class Lint(Struct, forbid_unknown_fields=True, frozen=True, tag_field="kind", tag="lint"):
    """[[parts]] with kind = "lint" """

    id: Id
    tool: Literal["flake8", "pylint", "ruff", "gcc", "g++", "shellcheck"]
    title: str = ""
    weight: Weight = 1.0
    needs: list[str] = []
    environment: str = ""
    arguments: list[str] = []
    most: Annotated[float, Meta(gt=0, le=1e6)] = 10.0
    weights: dict[
        Literal["error", "warning", "refactor", "convention", "style", "info"], Weight
    ] = {}


class Late(Struct, forbid_unknown_fields=True, frozen=True):
    """rules.late"""

    until: datetime
    factor: Share


class Rules(Struct, forbid_unknown_fields=True, frozen=True):
    """[rules]"""

    attempts: Annotated[int, Meta(ge=1)] | None = None
    opens: datetime | None = None
    deadline: datetime | None = None
    late: list[Late] = []


class Joint(Struct, forbid_unknown_fields=True, frozen=True):
    """[joint]"""

    wall_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 1200.0
    cpu_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 1200.0
    memory: Size = "8192 MiB"
    sandboxes: Annotated[int, Meta(ge=1, le=1000)] = 16


Part = Cases | Compiles | Choice | Match | UnitTests | Lint


class Document(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    title: Line
    environment: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    parts: Annotated[list[Part], Meta(min_length=1, max_length=100)]
    files: list[str] = []
    optional: list[str] = []
    build: Argv | None = None
    run: Argv | None = None
    limits: Execution = Execution()
    sandbox: Sandbox = Sandbox()
    joint: Joint = Joint()
    rules: Rules = Rules()
    passing_grade: Annotated[float, Meta(gt=0, le=100)] = 100.0


def _every(*kinds: type[Struct]) -> tuple[str, ...]:
    """The keys of the kinds, `kind` first."""
    return ("kind", *dict.fromkeys(key for kind in kinds for key in kind.__struct_fields__))


SHAPE = Shape(
    type=Document,
    keys={
        "": Document.__struct_fields__,
        "joint": Joint.__struct_fields__,
        "limits": Execution.__struct_fields__,
        "parts": _every(*get_args(Part)),
        "parts.cases": Case.__struct_fields__,
        "parts.checker": Checker.__struct_fields__,
        "parts.choices": Answer.__struct_fields__,
        "parts.random": Random.__struct_fields__,
        "rules": Rules.__struct_fields__,
        "rules.late": Late.__struct_fields__,
        "sandbox": Sandbox.__struct_fields__,
    },
    hints={
        "argv": 'a list such as ["python3", "check.py"], the program first',
        "answers": 'a list of texts such as ["42", "forty-two"]',
        "build": 'a list such as ["gcc", "-o", "main", "main.c"], the program first',
        "choices": "at least two [[parts.choices]], each with its text",
        "deadline": "a date and time such as 2027-01-31T23:59:00Z, without quotation marks",
        "environment": "the name of an environment, of `assay env list`",
        "framework": '"unittest", "pytest", "node:test", "doctest" or "junit"',
        "files": 'a list of names such as ["main.c", "list.h"], the program first',
        "id": 'letters, digits, ".", "_" and "-", such as "examples"',
        "kind": '"cases", "compiles", "unit_tests", "lint", "choice" or "match"',
        "late": "a list such as [{ until = 2027-02-02T23:59:00Z, factor = 0.5 }]",
        "opens": "a date and time such as 2027-01-01T08:00:00Z, without quotation marks",
        "parts": "at least one [[parts]]: what the grade is made of",
        "run": 'a list such as ["./main", "--fast"], the program first',
        "tests": 'a list of files of the task such as ["tests/test_sum.py"]',
        "tool": '"flake8", "pylint", "ruff", "gcc", "g++" or "shellcheck"',
        "title": "one line of at most 120 characters",
        "until": "a date and time such as 2027-02-02T23:59:00Z, without quotation marks",
        "memory": 'a size such as "256 MiB"',
        "output": 'a size such as "1 MiB"',
        "disk": 'a size such as "64 MiB"',
    },
    manual="docs/tasks.md",
)
