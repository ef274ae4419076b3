"""What an execution environment is, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from assay.domain.devices import Device
from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.domain.outcome import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A file of the root file system that the environment needs, and what brings it."""

    path: str
    package: str
    """The name of the package on Debian and Ubuntu."""


class StepKind(StrEnum):
    """Which of an environment's two steps."""

    COMPILE = "compile"
    RUN = "run"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """How a source file is compiled or run: arguments with placeholders, and limits."""

    argv: tuple[str, ...]
    limits: ExecutionLimits


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceilings:
    """What a request may ask for at most, when it asks for other limits."""

    run: ExecutionLimits
    sandbox: SandboxLimits


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A sample program that comes with an environment, and how it must end.

    An environment works where every one of its programs ends as it says here.
    """

    source: Path
    files: tuple[Path, ...]
    """What lies beside it in the sandbox."""
    arguments: tuple[str, ...]
    stdin: str
    last_step: StepKind
    """The step that `outcome` is about; a compile step before it must succeed."""
    outcome: Outcome
    stdout: str | None
    """All of the standard output of the last step, or None for whatever it may be."""
    stderr_contains: str
    limits: ExecutionLimits
    """Of the last step."""
    sandbox: SandboxLimits


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """How to find out the version of a language's tool."""

    argv: tuple[str, ...]
    pattern: str
    """A regular expression for what it says; its first group is the version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobeLanguage:
    """How clients of Jobe know a language, and what they expect of it: see docs/jobe.md."""

    language: str
    """Their name of it, such as "python3"."""
    source: str
    """The name of a source that comes without one; `{main_class}` is looked for in the source."""
    version: Version | None
    compile: Step | None
    run: Step
    check: tuple[str, ...] | None
    """After a program failed and said nothing: whether its source was at fault."""
    lists: Mapping[str, tuple[str, ...]]
    """What fills the places for arguments when a client gives none."""
    strict: bool
    """A compiler that says anything on its standard error has failed."""
    least: SandboxLimits
    """Less than this is too little for the compiler or the program's runtime."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Syntax:
    """As much of a language as it takes to make small mistakes in its programs."""

    grammar: str = ""
    """"python": its own, and nothing below counts. "": words and signs are exchanged."""
    comments: tuple[tuple[str, str], ...] = ()
    """How each kind begins, and how it ends; "": with the line."""
    quotes: tuple[str, ...] = ()
    """Of texts, in which nothing is changed."""
    swaps: tuple[tuple[str, str], ...] = ()
    """What is exchanged for what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """Programs that can be handed in for any task, as `assay task check` does; "": none.

    `{name}` stands for the file's name without its ending.
    """

    sums: str = ""
    """Reads whole numbers and prints their sum: the solution of a new task."""
    exits: str = ""
    """Ends well at once."""
    loops: str = ""
    """Never ends, and uses the processor."""
    floods: str = ""
    """Prints for ever."""
    prints: str = ""
    """Prints bytes, whose numbers, with commas between, stand where `{bytes}` is."""
    mutants: Syntax | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionEnvironment:
    """All that it takes to run programs of one language."""

    name: str
    title: str
    folder: Path
    image: str
    """A reference to a root file system; "host" is this machine's own programs."""
    extensions: tuple[str, ...]
    """Endings of the source files that `for_file` takes for this environment, with the dot."""
    tools: tuple[Tool, ...]
    variables: Mapping[str, str]
    compile: Step | None
    run: Step
    sandbox: SandboxLimits
    ceilings: Ceilings
    hello: Program
    """The program to show first; one of `programs`."""
    programs: tuple[Program, ...]
    preimport: tuple[str, ...] | None = None
    """What the Python has imported that waits in each warm sandbox; None: none waits."""
    devices: tuple[Device, ...] = ()
    """Of the host, where its operator allows them."""
    jobe: JobeLanguage | None = None
    """None: as its own name says, with its own steps."""
    trials: Trials = field(default_factory=Trials)
