"""A learner's program, made once: what to put into a sandbox, and what to start there.

A program that is compiled is taken out of the sandbox in which that was done before anything of it
ever ran, so what is started for each test is the same to the byte.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.agent.execution import Completed
from assay.agent.files import get_files, put_files
from assay.domain.command import Command
from assay.domain.errors import FileError, TaskFault
from assay.domain.limits import MIB, ExecutionLimits, require_within
from assay.environments.plan import command_in, plan
from assay.environments.served import Blueprint
from assay.grading.attempt import Attempt
from assay.grading.feedback import paragraphs, section, words
from assay.grading.places import Place

OUTPUT_MOST: Final = MIB
"""Of each run, unless the task says otherwise."""
_COMPILER_OUTPUT: Final = MIB
_MADE_BYTES: Final = 64 * MIB
_MADE_FILES: Final = 2000
COMPILE_LIMITS: Final = ExecutionLimits(
    wall_seconds=60, cpu_seconds=60, output_bytes=_COMPILER_OUTPUT
)
"""Of a task's own way of compiling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Starts in any sandbox of its environment."""

    entries: tuple[Entry, ...] = field(repr=False)
    command: Command
    """Without arguments of a case."""

    async def run(
        self,
        attempt: Attempt,
        place: Place,
        *,
        arguments: tuple[str, ...] = (),
        files: Mapping[str, bytes] = {},
        stdin: bytes = b"",
        by_learner: bool = True,
    ) -> Completed:
        """Run it to its end in a sandbox that is there for nothing else."""
        folder = place.blueprint.root.working_folder
        await put_files(place.session.agent, folder, (*self.entries, *entries_of(files)))
        command = replace(self.command, argv=(*self.command.argv, *arguments), last=True)
        most = command.limits.output_bytes or OUTPUT_MOST
        return await attempt.run(place, command, stdin, most=most, by_learner=by_learner)


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncompiled:
    """There is no program."""

    message: str
    """What the compiler says, for the learner, in Markdown."""
    completed: Completed

    @classmethod
    def said(cls, completed: Completed) -> Uncompiled:
        """Because a compiler ended so."""
        return cls(message=_said(completed), completed=completed)


def entries_of(files: Mapping[str, bytes], executable: Iterable[str] = ()) -> list[Entry]:
    """Files to put into a sandbox."""
    started = frozenset(executable)
    return [
        Entry(name=name, mode=0o755 if name in started else 0o644, content=content)
        for name, content in files.items()
    ]


async def build(
    attempt: Attempt, files: Mapping[str, bytes], *, by_learner: bool = True
) -> Program | Uncompiled:
    """Make the program of these sources: of a submission, or of the reference solution.

    Raises TaskFault when the task's environment can't, and what `Places` and sandboxes raise.
    """
    task = attempt.task
    blueprint = await attempt.blueprint()
    compile_, run = _commands(attempt, blueprint)
    sources = (*entries_of(task.given), *entries_of(files))
    if compile_ is None:
        return Program(entries=sources, command=run)
    async with attempt.place() as place:
        folder = place.blueprint.root.working_folder
        await put_files(place.session.agent, folder, sources)
        completed = await attempt.run(place, compile_, most=_COMPILER_OUTPUT, by_learner=by_learner)
        if not completed.outcome.success:
            return Uncompiled.said(completed)
        return Program(entries=await made_by(place, folder), command=run)


def _commands(attempt: Attempt, blueprint: Blueprint) -> tuple[Command | None, Command]:
    """How it is compiled and run: as the task says, or else as its environment does."""
    task, environment = attempt.task, blueprint.environment
    limits = attempt.limits(replace(environment.execution, output_bytes=OUTPUT_MOST))
    require_within(limits, environment.ceiling)
    variables = blueprint.variables()

    def own(argv: tuple[str, ...], limits: ExecutionLimits) -> Command:
        return command_in(blueprint.root, argv, variables=variables, limits=limits)

    if blueprint.folder is None:
        if not task.run:
            raise TaskFault(
                f"the environment {environment.name} is no language's: say in task.toml how the"
                ' program is started: run = ["/usr/bin/python3", "main.py"]'
            )
        compile_, run = None, own(task.run, limits)
    else:
        # What is served rules what its language's folder allows.
        ceilings = replace(
            blueprint.folder.ceilings, run=environment.ceiling, sandbox=environment.sandbox
        )
        folder = replace(blueprint.folder, variables=variables, ceilings=ceilings)
        compile_, run = plan(
            folder, task.files[0], root=blueprint.root, limits=limits, sandbox=environment.sandbox
        )
        run = own(task.run, limits) if task.run else run
    if task.build:
        compile_ = own(task.build, COMPILE_LIMITS)
    return compile_, run


async def made_by(place: Place, folder: str) -> tuple[Entry, ...]:
    """What the compiler has left, sources included. Links and their like are left out."""
    made = []
    received = get_files(place.session.agent, folder, most=_MADE_BYTES, most_entries=_MADE_FILES)
    try:
        async with contextlib.aclosing(received) as every:
            async for each in every:
                if each.entry.kind is EntryKind.FILE and each.has_content:
                    content = b"".join([piece async for piece in each.content()])
                    made.append(
                        Entry(name=each.entry.name, mode=each.entry.mode & 0o755, content=content)
                    )
    except FileError as error:
        raise TaskFault(
            f"what the compiler has made can't be taken along: {error.message}"
        ) from error
    return tuple(made)


def _said(completed: Completed) -> str:
    ended = "" if completed.outcome.code else words(completed.outcome)
    text = completed.stderr + completed.stdout
    return paragraphs("The program could not be compiled.", ended, section("Compiler", text))
