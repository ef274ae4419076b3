"""What `assay run` was asked for: a file or a command, its environment and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.bootstrap import Catalogue, Ready
from assay.cli.workspace import Upload, uploads
from assay.domain.errors import InvalidInput, LimitOverCeiling
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits, require_within
from assay.driver.port import RootFilesystem
from assay.environments import ExecutionEnvironment, Plan, command_in, plan
from assay.environments.tools import locate
from assay.images import Image, OnProgress, ignore

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
    image: Image | None
    sandbox: SandboxLimits
    plan: Plan
    uploads: Sequence[Upload]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What stood on the command line, beside the limits."""

    target: str | None
    arguments: tuple[str, ...] = ()
    separated: bool = False
    """Whether `--` stood before the target: then it is a command, whatever files there are."""
    environment: str | None = None
    image: str | None = None
    files: tuple[Path, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The target and its arguments."""
        return (() if self.target is None else (self.target,)) + self.arguments


def understand(
    catalogue: Catalogue,
    asked: Asked,
    *,
    wishes: Wishes | None = None,
    on_progress: OnProgress = ignore,
) -> Request:
    """Find out what the target is: a source file of this machine, or the program of a command.

    The image is pulled or built if it is not here, which `on_progress` is told of. Raises
    UnknownEnvironment, EnvironmentUnusable, LimitOverCeiling, InvalidInput, and what images raise.
    """
    wishes = wishes or Wishes()
    named = catalogue.named(asked.environment) if asked.environment else None
    source = _source(catalogue, named, asked, on_progress)
    chosen = named or _environment(catalogue, source, asked)
    wishes.refuse_over(chosen)
    ready = catalogue.ready(chosen, image=asked.image, on_progress=on_progress)
    chosen = ready.environment
    limits = wishes.limits(chosen.run.limits, chosen.ceilings.run)
    sandbox = wishes.sandbox(chosen.sandbox)
    if source is None:
        argv = asked.argv if ready.image is None or not asked.image else _argv(ready.image, asked)
        made = _command(ready, argv, limits, sandbox)
        files = asked.files
    else:
        made = plan(
            chosen, _name(source), asked.arguments, root=ready.root, limits=limits, sandbox=sandbox
        )
        files = (source, *asked.files)
    return Request(
        environment=chosen, root=ready.root, image=ready.image, sandbox=sandbox, plan=made,
        uploads=uploads(files),
    )  # fmt: skip


def _environment(catalogue: Catalogue, source: Path | None, asked: Asked) -> ExecutionEnvironment:
    if source is not None:
        return catalogue.for_file(source)
    usual = catalogue.named(FOR_COMMANDS)
    if asked.image is None:
        return usual
    # Nothing is known of what is in there, and nothing needed but what is asked for.
    return replace(usual, name=asked.image, title=asked.image, tools=(), variables={})


def _argv(image: Image, asked: Asked) -> tuple[str, ...]:
    """As Docker does it: what is asked for replaces CMD, and ENTRYPOINT comes first."""
    meant = image.configuration
    argv = meant.entrypoint + (asked.argv or meant.command)
    if not argv or not argv[0]:
        raise InvalidInput(
            f"the image {image.reference} says no program to run (ENTRYPOINT, CMD); name one:"
            f" assay run --image {image.reference} -- PROGRAM"
        )
    return argv


def _source(
    catalogue: Catalogue,
    environment: ExecutionEnvironment | None,
    asked: Asked,
    on_progress: OnProgress,
) -> Path | None:
    """The file that is meant, or None: it is a command.

    A program that the sandbox has at the very same place, such as /usr/bin/env, is a command. With
    an image of its own, so is everything but a file that an environment takes by its ending.
    """
    target, companions = asked.target, {file.name for file in asked.files}
    if target is None or (asked.separated and asked.image is not None):
        return None
    path = Path(target)
    if (
        asked.image is None
        and path.is_absolute()
        and _is_in_sandbox(catalogue, environment, target, on_progress)
    ):
        return None
    if path.is_dir() and "/" in target:
        raise InvalidInput(f"{target} is a folder; name the file in it that is to run")
    candidates = catalogue.environments if environment is None else (environment,)
    is_source = any(path.suffix in each.extensions for each in candidates)
    if not is_source and (path.name in companions or (asked.image and environment is None)):
        return None
    if path.exists() and not path.is_dir():
        return path
    if is_source and path.name not in companions:
        raise InvalidInput(f"there is no file {target} here")
    return None


def _is_in_sandbox(
    catalogue: Catalogue,
    environment: ExecutionEnvironment | None,
    target: str,
    on_progress: OnProgress,
) -> bool:
    if not Path(target).suffix or environment is not None:
        chosen = environment or catalogue.named(FOR_COMMANDS)
        return locate(target, catalogue.ready(chosen, on_progress=on_progress).root) is not None
    return False


def _name(source: Path) -> str:
    return source.name or source.resolve().name


def _command(
    ready: Ready, argv: tuple[str, ...], limits: ExecutionLimits, sandbox: SandboxLimits
) -> Plan:
    require_within(limits, ready.environment.ceilings.run)
    require_within(sandbox, ready.environment.ceilings.sandbox)
    variables = ready.environment.variables
    run = command_in(ready.root, argv, variables=variables, limits=limits)
    return Plan(compile=None, run=run)
