"""From an environment and a source file to the commands that compile and run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from assay.domain.command import WORKSPACE, Command
from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits, require_within
from assay.driver.port import RootFilesystem
from assay.environments.model import ExecutionEnvironment, Program, Step, StepKind
from assay.environments.template import fill
from assay.environments.users import home_folder

DEFAULT_VARIABLES = MappingProxyType(
    {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": WORKSPACE,
        "SHELL": "/bin/sh",
    }
)
"""Environment variables of every command; those of the image and the environment come on top.

Without SHELL, bash looks its user up at each start, to find out which shell that has
(docs/decisions/0205)."""
_LANGUAGE = frozenset({"LANG", "LC_ALL", "LC_CTYPE"})
_TEXT = MappingProxyType({"LC_CTYPE": "C.UTF-8"})
"""Text is UTF-8. With LANG the C library would look for eleven more files at each start, to find
in them what it does without (docs/decisions/0059)."""


def variables_in(root: RootFilesystem, variables: Mapping[str, str]) -> dict[str, str]:
    """All that a command in this root file system gets, its environment's own being `variables`."""
    own = {"HOME": home_folder(root)}
    given = {**DEFAULT_VARIABLES, **own, **root.environment, **variables}
    return given if given.keys() & _LANGUAGE else {**given, **_TEXT}


def command_in(
    root: RootFilesystem,
    argv: tuple[str, ...],
    *,
    variables: Mapping[str, str],
    limits: ExecutionLimits,
) -> Command:
    """A command as the image's user, in the image's working folder."""
    return Command(
        argv=argv,
        environment=variables_in(root, variables),
        working_directory=root.working_folder,
        uid=root.user,
        gid=root.group,
        limits=limits,
    )


_ANY = RootFilesystem(digest="", path=Path("/nowhere"))
"""One that says nothing of its own: no user, no variables, no working folder."""


class Plan(NamedTuple):
    """The commands for one source file; `compile` is None where nothing is compiled.

    Neither has a terminal or standard input: whoever starts them adds what the user has.
    """

    compile: Command | None
    run: Command


def plan(
    environment: ExecutionEnvironment,
    source: PurePosixPath | str,
    args: Sequence[str] = (),
    *,
    root: RootFilesystem = _ANY,
    limits: ExecutionLimits | None = None,
    sandbox: SandboxLimits | None = None,
    lists: Mapping[str, Sequence[str]] = MappingProxyType({}),
    name: str | None = None,
) -> Plan:
    """Say how to run the file `source`, a path relative to the sandbox's working folder.

    `root` is the root file system, where the environment's tools are.

    `limits` (of the run) and `sandbox` are what a request asks for instead of the environment's
    own. `lists` are arguments for the places of the same names, `name` stands for `{name}` in
    place of the source's. Raises LimitOverCeiling when that is too much, and InvalidInput when
    `source` is not a path inside of the working folder, or there is no place for arguments.
    """
    limits = environment.run.limits if limits is None else limits
    sandbox = environment.sandbox if sandbox is None else sandbox
    require_within(limits, environment.ceilings.run)
    require_within(sandbox, environment.ceilings.sandbox)
    path = _inside_workspace(source)
    values = {
        "source": _as_operand(str(path)),
        "name": path.stem if name is None else name,
        "memory_mib": str(sandbox.memory_bytes // MIB),
    }

    _require_places(environment, lists)

    def command(step: Step, limits: ExecutionLimits, args: Sequence[str]) -> Command:
        argv = fill(step.argv, values, args, lists)
        return command_in(root, argv, variables=environment.variables, limits=limits)

    step = environment.compile
    return Plan(
        compile=None if step is None else command(step, step.limits, ()),
        run=command(environment.run, limits, args),
    )


def _require_places(environment: ExecutionEnvironment, lists: Mapping[str, Sequence[str]]) -> None:
    step = environment.compile
    argv = (*environment.run.argv, *(() if step is None else step.argv))
    for name, arguments in lists.items():
        if arguments and f"{{{name}}}" not in argv:
            kind = name.replace("_", " ")
            raise InvalidInput(f"the environment {environment.name} has no place for {kind}")


def plan_program(
    environment: ExecutionEnvironment, program: Program, *, root: RootFilesystem = _ANY
) -> Plan:
    """Say how to run a sample program, under its own file's name; ends at its last step."""
    source, arguments = program.source.name, program.arguments
    if program.last_step is StepKind.RUN:
        return plan(
            environment, source, arguments, root=root,
            limits=program.limits, sandbox=program.sandbox,
        )  # fmt: skip
    made = plan(environment, source, arguments, root=root, sandbox=program.sandbox)
    assert made.compile is not None  # the loader has seen to it
    return made._replace(compile=replace(made.compile, limits=program.limits))


def _inside_workspace(source: PurePosixPath | str) -> PurePosixPath:
    path = PurePosixPath(source)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in str(source):
        raise InvalidInput(
            f"{str(source)!r} cannot be the name of a source file: "
            "it must be a path inside of the sandbox's working folder"
        )
    return path


def _as_operand(path: str) -> str:
    """Keep compilers from taking a file called `-o.c` or `@list.c` for an option."""
    return path if path[0].isalnum() or path[0] in "._" else f"./{path}"
