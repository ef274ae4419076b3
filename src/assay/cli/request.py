"""What `assay run` was asked for: a file or a command, its environment and its limits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.bootstrap import Catalogue
from assay.cli.workspace import Upload, uploads
from assay.domain.command import Command
from assay.domain.errors import InvalidInput, LimitOverCeiling
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits, require_within
from assay.driver.port import RootFilesystem
from assay.environments import ExecutionEnvironment, Plan, plan
from assay.environments.plan import DEFAULT_VARIABLES
from assay.environments.tools import locate

FOR_COMMANDS = "bash"
"""The environment of a command when none is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """The limits that were asked for; None: the environment's own. Sizes in MiB."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    memory: int | None = None
    output: int | None = None

    def limits(self, own: ExecutionLimits, ceiling: ExecutionLimits) -> ExecutionLimits:
        """Who gives a program more time on the clock means processor time, too."""
        cpu = self.cpu_seconds
        if cpu is None and self.wall_seconds is not None:
            most = ceiling.cpu_seconds
            cpu = self.wall_seconds if most is None else min(self.wall_seconds, most)
        return ExecutionLimits(
            wall_seconds=self.wall_seconds if self.wall_seconds else own.wall_seconds,
            cpu_seconds=cpu if cpu else own.cpu_seconds,
            output_bytes=self.output * MIB if self.output else own.output_bytes,
            open_files=own.open_files,
        )

    def refuse_over(self, environment: ExecutionEnvironment) -> None:
        """Raise LimitOverCeiling, in the words of the command line."""
        most, room = environment.ceilings.run, environment.ceilings.sandbox
        for flag, asked, ceiling, unit in (
            ("--time", self.wall_seconds, most.wall_seconds, "s"),
            ("--cpu", self.cpu_seconds, most.cpu_seconds, "s"),
            ("--memory", self.memory, room.memory_bytes / MIB, "MB"),
            ("--output", self.output, most.output_bytes and most.output_bytes / MIB, "MB"),
        ):
            if asked is not None and ceiling is not None and asked > ceiling:
                raise LimitOverCeiling(
                    f"{flag} {asked:g} is more than the environment {environment.name} allows:"
                    f" at most {ceiling:g} {unit}"
                )

    def sandbox(self, own: SandboxLimits) -> SandboxLimits:
        """Files are kept in memory, and get at most half of it."""
        if self.memory is None:
            return own
        memory_bytes = self.memory * MIB
        disk_bytes = min(own.disk_bytes, memory_bytes // 2)
        return replace(own, memory_bytes=memory_bytes, disk_bytes=disk_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """All that is needed to make the sandbox and run in it."""

    environment: ExecutionEnvironment
    root: RootFilesystem
    sandbox: SandboxLimits
    plan: Plan
    uploads: Sequence[Upload]


def understand(
    catalogue: Catalogue,
    target: str,
    arguments: Sequence[str],
    *,
    environment: str | None = None,
    files: Sequence[Path] = (),
    wishes: Wishes | None = None,
) -> Request:
    """Find out what `target` is: a source file of this machine, or the program of a command.

    Raises UnknownEnvironment, EnvironmentUnusable, LimitOverCeiling or InvalidInput.
    """
    wishes = wishes or Wishes()
    chosen = catalogue.named(environment) if environment else None
    source = _source(catalogue, chosen, target, {file.name for file in files})
    if chosen is None:
        chosen = catalogue.named(FOR_COMMANDS) if source is None else catalogue.for_file(source)
    wishes.refuse_over(chosen)
    root = catalogue.usable_root(chosen)
    limits = wishes.limits(chosen.run.limits, chosen.ceilings.run)
    sandbox = wishes.sandbox(chosen.sandbox)
    if source is None:
        made = _command(chosen, (target, *arguments), limits, sandbox)
        return _request(chosen, root, sandbox, made, files)
    made = plan(chosen, _name(source), arguments, limits=limits, sandbox=sandbox)
    return _request(chosen, root, sandbox, made, (source, *files))


def _request(
    environment: ExecutionEnvironment,
    root: RootFilesystem,
    sandbox: SandboxLimits,
    made: Plan,
    files: Sequence[Path],
) -> Request:
    return Request(
        environment=environment, root=root, sandbox=sandbox, plan=made, uploads=uploads(files)
    )


def _source(
    catalogue: Catalogue,
    environment: ExecutionEnvironment | None,
    target: str,
    companions: Collection[str],
) -> Path | None:
    """The file that is meant, or None: it is a command.

    A program that the sandbox has at the very same place, such as /usr/bin/env, is a command.
    """
    path = Path(target)
    if path.is_absolute() and _is_in_sandbox(catalogue, environment, target):
        return None
    if path.is_dir() and "/" in target:
        raise InvalidInput(f"{target} is a folder; name the file in it that is to run")
    candidates = catalogue.environments if environment is None else (environment,)
    is_source = any(path.suffix in each.extensions for each in candidates)
    if path.name in companions and not is_source:
        return None
    if path.exists() and not path.is_dir():
        return path
    if is_source and path.name not in companions:
        raise InvalidInput(f"there is no file {target} here")
    return None


def _is_in_sandbox(
    catalogue: Catalogue, environment: ExecutionEnvironment | None, target: str
) -> bool:
    if not Path(target).suffix or environment is not None:
        root = catalogue.usable_root(environment or catalogue.named(FOR_COMMANDS))
        return locate(target, root) is not None
    return False


def _name(source: Path) -> str:
    return source.name or source.resolve().name


def _command(
    environment: ExecutionEnvironment,
    argv: tuple[str, ...],
    limits: ExecutionLimits,
    sandbox: SandboxLimits,
) -> Plan:
    require_within(limits, environment.ceilings.run)
    require_within(sandbox, environment.ceilings.sandbox)
    variables = {**DEFAULT_VARIABLES, **environment.variables}
    return Plan(compile=None, run=Command(argv=argv, environment=variables, limits=limits))
