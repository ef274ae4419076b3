"""The shape of `environment.toml`, key by key, and the limits in it.

docs/environments.md explains what each key means to the person who writes one.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field

from assay.domain.limits import ExecutionLimits, SandboxLimits
from assay.environments.strict import Shape

T = TypeVar("T")

_UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}

Size = Annotated[str, Meta(pattern=r"^[0-9]{1,9} (KiB|MiB|GiB)$")]
Word = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f\x7f]+$", max_length=200)]
Extension = Annotated[str, Meta(pattern=r"^\.[^\s./\x00-\x1f\x7f]+$", max_length=40)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\s/\x00-\x1f\x7f]+(/[^\s/\x00-\x1f\x7f]+)*$")]
Module = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=200)
]
Argv = Annotated[list[str], Meta(min_length=1, max_length=100)]


class Execution(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits of one execution; what is left out is taken from elsewhere."""

    wall_seconds: float | UnsetType = UNSET
    cpu_seconds: float | UnsetType = UNSET
    output: Size | UnsetType = UNSET
    open_files: int | UnsetType = UNSET

    def over(self, base: ExecutionLimits) -> ExecutionLimits:
        """These limits, and those of `base` where nothing is said here."""
        return ExecutionLimits(
            wall_seconds=_either(self.wall_seconds, base.wall_seconds),
            cpu_seconds=_either(self.cpu_seconds, base.cpu_seconds),
            output_bytes=_size(self.output, base.output_bytes),
            open_files=_either(self.open_files, base.open_files),
        )


class Sandbox(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits of a sandbox; what is left out is taken from elsewhere."""

    memory: Size | UnsetType = UNSET
    processes: int | UnsetType = UNSET
    cpus: float | UnsetType = UNSET
    disk: Size | UnsetType = UNSET
    inodes: int | UnsetType = UNSET

    def over(self, base: SandboxLimits) -> SandboxLimits:
        """These limits, and those of `base` where nothing is said here.

        Files are kept in memory and get at most half of it, so less memory means less disk.
        """
        memory_bytes = _size(self.memory, base.memory_bytes)
        return SandboxLimits(
            memory_bytes=memory_bytes,
            processes=_either(self.processes, base.processes),
            cpus=_either(self.cpus, base.cpus),
            disk_bytes=min(_size(self.disk, base.disk_bytes), memory_bytes // 2),
            inodes=_either(self.inodes, base.inodes),
        )


class Tool(Struct, forbid_unknown_fields=True, frozen=True):
    """[[tools]]"""

    path: AbsolutePath
    package: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]*$")]


class Step(Struct, forbid_unknown_fields=True, frozen=True):
    """[compile] and [run]"""

    argv: Argv
    limits: Execution = Execution()


class Ceilings(Struct, forbid_unknown_fields=True, frozen=True):
    """[ceilings]"""

    run: Execution = Execution()
    sandbox: Sandbox = Sandbox()


class Version(Struct, forbid_unknown_fields=True, frozen=True):
    """[jobe.version]"""

    argv: Argv
    pattern: str


class Jobe(Struct, forbid_unknown_fields=True, frozen=True):
    """[jobe]"""

    language: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+#_-]{0,40}$")] | None = None
    source: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_{}][A-Za-z0-9_.{}-]*$")] | None = None
    version: Version | None = None
    compile: Argv | None = None
    run: Argv | None = None
    check: Argv | None = None
    compile_args: list[str] = []
    link_args: list[str] = []
    interpreter_args: list[str] = []
    strict: bool = False
    least: Sandbox = Sandbox()


class Program(Struct, forbid_unknown_fields=True, frozen=True):
    """[[programs]]"""

    file: str
    outcome: str
    last_step: Literal["compile", "run"] = "run"
    files: list[str] = []
    arguments: list[str] = []
    stdin: str = ""
    stdout: str | None = None
    stderr_contains: str = ""
    limits: Execution = Execution()
    sandbox: Sandbox = Sandbox()


class Mutants(Struct, forbid_unknown_fields=True, frozen=True):
    """[trials.mutants]"""

    grammar: Literal["", "python"] = ""
    comments: list[str] = []
    quotes: list[Annotated[str, Meta(min_length=1, max_length=1)]] = field(
        default_factory=lambda: ['"', "'"]
    )
    swaps: list[tuple[str, str]] | None = None


class Trials(Struct, forbid_unknown_fields=True, frozen=True):
    """[trials]"""

    sums: str = ""
    exits: str = ""
    loops: str = ""
    floods: str = ""
    prints: str = ""
    mutants: Mutants | None = None


class Document(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
    title: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,80}$")]
    image: Word
    extensions: list[Extension]
    hello: str
    tools: list[Tool]
    run: Step
    programs: list[Program]
    compile: Step | None = None
    variables: dict[str, str] = {}
    preimport: Annotated[list[Module], Meta(max_length=50)] | None = None
    devices: list[str] = []
    sandbox: Sandbox = Sandbox()
    ceilings: Ceilings = Ceilings()
    jobe: Jobe | None = None
    trials: Trials = Trials()


TABLES: dict[str, type[Struct]] = {
    "": Document,
    "ceilings": Ceilings,
    "ceilings.run": Execution,
    "ceilings.sandbox": Sandbox,
    "compile": Step,
    "compile.limits": Execution,
    "jobe": Jobe,
    "jobe.least": Sandbox,
    "jobe.version": Version,
    "programs": Program,
    "programs.limits": Execution,
    "programs.sandbox": Sandbox,
    "run": Step,
    "run.limits": Execution,
    "sandbox": Sandbox,
    "tools": Tool,
    "trials": Trials,
    "trials.mutants": Mutants,
}
"""What each table of the file may hold, by its key."""

HINTS = {
    "comments": 'a list such as ["//", "/* */"]: how they begin, and, unless with the line, end',
    "grammar": '"python", or leave it out',
    "quotes": """a list such as ['"', "'"]""",
    "swaps": 'a list of pairs such as [["<", "<="], ["+", "-"]]',
    "argv": 'a list such as ["/usr/bin/python3", "{source}", "{args}"], the program first',
    "devices": 'a list of devices such as ["/dev/ttyUSB0"] or ["nvidia.com/gpu=all"]',
    "disk": 'a size such as "64 MiB"',
    "extensions": 'a list of endings with their dot, such as [".py"]',
    "check": 'a list such as ["/usr/bin/python3", "-m", "py_compile", "{source}"]',
    "compile": 'in [jobe] a list such as ["/usr/bin/gcc", "{compile_args}", "{source}"]',
    "image": '"host" for the programs of this machine, "debian:12", or "./Dockerfile"',
    "memory": 'a size such as "256 MiB"',
    "name": 'lower-case letters, digits and "-", the same as the folder\'s name',
    "output": 'a size such as "16 MiB"',
    "package": "the name of a Debian package",
    "preimport": 'a list of modules such as ["pandas"], or [] for Python alone',
    "path": 'an absolute path in the sandbox, such as "/usr/bin/python3"',
    "pattern": "a regular expression with one group, the version",
    "source": 'a file\'s name such as "prog.c" or "{main_class}.java"',
    "title": "one line of at most 80 characters",
    "variables": 'NAME = "value", the value always in quotation marks',
}
"""How to write the keys that are not plain numbers and texts."""


SHAPE = Shape(
    type=Document,
    keys={table: shape.__struct_fields__ for table, shape in TABLES.items()},
    hints=HINTS,
    manual="docs/environments.md",
)


def _either(said: T | UnsetType, otherwise: T) -> T:
    return otherwise if isinstance(said, UnsetType) else said


def size(said: str) -> int:
    """Bytes of a Size."""
    return _size(said, 0)


def _size(said: str | UnsetType, otherwise: T) -> int | T:
    if isinstance(said, UnsetType):
        return otherwise
    number, unit = said.split(" ")
    return int(number) * _UNITS[unit]
