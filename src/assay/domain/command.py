"""What to run in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assay.domain.errors import InvalidInput
from assay.domain.limits import ExecutionLimits

LEARNER_UID = 10001
WORKSPACE = "/workspace"


@dataclass(frozen=True, kw_only=True, slots=True)
class TerminalSize:
    """Rows and columns of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """A Python that waits in a sandbox for its learner's next program, `packages` imported.

    It serves commands of the same user, variables and open files whose first two arguments are
    the interpreter and a file.
    """

    path: str
    """Absolute, in the sandbox."""
    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    uid: int = LEARNER_UID
    gid: int | None = None
    open_files: int | None = None

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise InvalidInput("an interpreter has an absolute path")
        if not 1 <= self.uid < 65534:
            raise InvalidInput("an interpreter waits for a learner's programs, never for root's")
        if any("\0" in text for text in (self.path, *self.packages, *self.environment.values())):
            raise InvalidInput("an interpreter's arguments and environment hold no NUL")


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One program to start: arguments, never a shell's line.

    `argv[0]` without a slash is looked up in the PATH of `environment`. With `privileged` the
    program runs as the sandbox's own root. With `terminal` standard input and output are a
    terminal, and standard error is too unless `separate_stderr`. Without `stdin` the program
    reads end-of-file at once.

    `last` saves what would be prepared for a next program; one that comes all the same starts
    later.

    `working_directory` is the workspace, and "/" with `privileged`, unless it is given; the group
    `gid` has the number of the user, unless it is given. A
    privileged program must not trust what learners can write: HOME (the workspace, where Python
    looks for modules of its user), the current folder when it is theirs (`import json` takes
    their json.py), links in /tmp, or a PATH that leads to their folders. Run
    `/usr/bin/python3 -I`, say, and give absolute paths.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str | None = None
    privileged: bool = False
    uid: int = LEARNER_UID
    gid: int | None = None
    terminal: TerminalSize | None = None
    separate_stderr: bool = False
    stdin: bool = False
    limits: ExecutionLimits = field(default_factory=ExecutionLimits)
    last: bool = False

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise InvalidInput("a command needs the name of a program")
        for text in (*self.argv, self.folder, *self.environment.values()):
            if "\0" in text:
                raise InvalidInput("a command, its folder and its environment hold no NUL")
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                raise InvalidInput(f"{name!r} cannot be the name of an environment variable")
        group = self.uid if self.gid is None else self.gid
        # Not 0: who is in the group of the sandbox's root sees all processes in /proc.
        if not (1 <= self.uid < 65534 and 1 <= group < 65534) and not self.privileged:
            raise InvalidInput("a learner's uid, and gid, is from 1 to 65533")

    @property
    def folder(self) -> str:
        """The folder in which the program starts."""
        if self.working_directory is not None:
            return self.working_directory
        return "/" if self.privileged else WORKSPACE
