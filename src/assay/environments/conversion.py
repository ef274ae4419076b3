"""From a document of the right shape to an environment that makes sense."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from assay.domain.devices import Device, devices_of
from assay.domain.errors import InvalidInput
from assay.domain.limits import ExecutionLimits, SandboxLimits, require_within
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import document
from assay.environments.model import (
    Ceilings,
    ExecutionEnvironment,
    JobeLanguage,
    Program,
    Step,
    StepKind,
    Tool,
    Version,
)
from assay.environments.strict import Mistake, require
from assay.environments.template import problem_with
from assay.environments.trials import trials_of

COMPILE_LIMITS = ExecutionLimits(wall_seconds=30, cpu_seconds=30, output_bytes=1024 * 1024)
"""For a compile step that says nothing else; those of a run are the domain's."""


def environment_of(text: document.Document, folder: Path) -> ExecutionEnvironment:
    """Make the environment that `text`, found in `folder`, describes. Raises Mistake."""
    require(
        text.name == folder.resolve().name,
        "name",
        f"this is {text.name!r}, but the folder is called {folder.resolve().name!r}",
        "give both the same name",
    )
    run = _step("run", text.run, text.tools, ExecutionLimits())
    compile_ = None
    if text.compile is not None:
        compile_ = _step("compile", text.compile, text.tools, COMPILE_LIMITS)
    with _at("sandbox"):
        sandbox = text.sandbox.over(SandboxLimits())
    ceilings = _ceilings(text.ceilings, run.limits, sandbox)
    steps = {StepKind.RUN: run, StepKind.COMPILE: compile_}
    programs = _programs(text, folder, steps, sandbox, ceilings)
    require(
        text.preimport is None or run.argv[1:2] == ("{source}",),
        "preimport",
        "a Python that waits becomes `python file.py`, and this environment runs something else",
        'let run.argv begin with the interpreter and "{source}", or leave it out',
    )
    return ExecutionEnvironment(
        name=text.name,
        title=text.title,
        folder=folder,
        image=_image(text.image, folder),
        extensions=tuple(text.extensions),
        tools=tuple(Tool(path=tool.path, package=tool.package) for tool in text.tools),
        variables=_variables(text.variables),
        compile=compile_,
        run=run,
        sandbox=sandbox,
        ceilings=ceilings,
        hello=programs[text.hello],
        programs=tuple(programs.values()),
        preimport=None if text.preimport is None else tuple(text.preimport),
        devices=_devices(text.devices),
        jobe=None if text.jobe is None else _jobe(text, text.jobe, compile_, run, sandbox),
        trials=trials_of(text.trials),
    )


def _jobe(
    text: document.Document,
    jobe: document.Jobe,
    compile_: Step | None,
    run: Step,
    sandbox: SandboxLimits,
) -> JobeLanguage:
    """Steps that it does not name are the environment's own, and so are limits."""

    def step(key: str, argv: list[str] | None, own: Step | None) -> Step | None:
        if argv is None:
            return own
        base = COMPILE_LIMITS if own is None else own.limits
        return _step(f"jobe.{key}", document.Step(argv=argv), text.tools, base)

    made = step("run", jobe.run, run)
    check = step("check", jobe.check, None)
    assert made is not None
    with _at("jobe.least"):
        least = jobe.least.over(sandbox)
        require_within(least, sandbox)
    return JobeLanguage(
        language=jobe.language or text.name,
        source=jobe.source or f"main{text.extensions[0] if text.extensions else ''}",
        version=None if jobe.version is None else _version(jobe.version, text.tools),
        compile=step("compile", jobe.compile, compile_),
        run=made,
        check=None if check is None else check.argv,
        lists={
            "compile_args": tuple(jobe.compile_args),
            "link_args": tuple(jobe.link_args),
            "interpreter_args": tuple(jobe.interpreter_args),
        },
        strict=jobe.strict,
        least=least,
    )


def _version(version: document.Version, tools: list[document.Tool]) -> Version:
    remedy = f"write {document.HINTS['pattern']}"
    try:
        groups = re.compile(version.pattern).groups
    except re.error as error:
        raise Mistake("jobe.version.pattern", f"{error}", remedy) from error
    require(groups == 1, "jobe.version.pattern", f"it has {groups} groups", remedy)
    argv = _step("jobe.version", document.Step(argv=version.argv), tools, COMPILE_LIMITS).argv
    return Version(argv=argv, pattern=version.pattern)


def _devices(names: list[str]) -> tuple[Device, ...]:
    try:
        return devices_of(names)
    except InvalidInput as error:
        remedy = f"write {document.HINTS['devices']}"
        raise Mistake("devices", error.message, remedy) from error


def _image(reference: str, folder: Path) -> str:
    """A reference whose paths are those of the environment's folder."""
    kind, colon, path = reference.partition(":")
    if kind in ("oci", "docker-archive"):
        return f"{kind}{colon}{os.path.normpath(folder.absolute() / path)}"
    if reference in (".", "..") or reference.startswith(("./", "../")):
        return os.path.normpath(folder.absolute() / reference)
    return reference


@contextmanager
def _at(key: str) -> Iterator[None]:
    """Say at which key it was that the domain refused a value."""
    try:
        yield
    except InvalidInput as error:
        raise Mistake(key, error.message, "docs/environments.md explains limits") from error


def _step(key: str, step: document.Step, tools: list[document.Tool], base: ExecutionLimits) -> Step:
    for position, argument in enumerate(step.argv):
        problem = problem_with(argument)
        require(
            problem is None, f"{key}.argv[{position}]", f"{problem}", "see docs/environments.md"
        )
    program = step.argv[0]
    require(
        program.startswith("./") or program in (tool.path for tool in tools),
        f"{key}.argv[0]",
        f"{program!r} is neither the path of one of [[tools]] nor in the working folder (./)",
        "add it to [[tools]], so that whoever lacks it is told what to install",
    )
    with _at(f"{key}.limits"):
        return Step(argv=tuple(step.argv), limits=step.limits.over(base))


def _ceilings(
    ceilings: document.Ceilings, run: ExecutionLimits, sandbox: SandboxLimits
) -> Ceilings:
    """What is left out of a ceiling is the limit itself: nobody gets more unless it says so."""
    with _at("ceilings"):
        made = Ceilings(run=ceilings.run.over(run), sandbox=ceilings.sandbox.over(sandbox))
        require_within(run, made.run)
        require_within(sandbox, made.sandbox)
    return made


def _variables(variables: dict[str, str]) -> MappingProxyType[str, str]:
    for name, value in variables.items():
        require(
            re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None and "\0" not in value,
            f"variables.{name}",
            "this cannot be an environment variable",
            "names are made of letters, digits and underscores, and values hold no NUL",
        )
    return MappingProxyType(dict(variables))


def _programs(
    text: document.Document,
    folder: Path,
    steps: dict[StepKind, Step | None],
    sandbox: SandboxLimits,
    ceilings: Ceilings,
) -> dict[str, Program]:
    programs: dict[str, Program] = {}
    for position, said in enumerate(text.programs):
        key = f"programs[{position}]"
        require(
            said.file not in programs,
            f"{key}.file",
            f"{said.file!r} is there twice",
            "one program a file",
        )
        programs[said.file] = program = _program(key, said, folder, steps, sandbox)
        with _at(key):
            require_within(program.sandbox, ceilings.sandbox)
            if program.last_step is StepKind.RUN:
                require_within(program.limits, ceilings.run)
    require(
        text.hello in programs,
        "hello",
        f"{text.hello!r} is not the file of a program",
        "name one of [[programs]]",
    )
    return programs


def _program(
    key: str,
    program: document.Program,
    folder: Path,
    steps: dict[StepKind, Step | None],
    sandbox: SandboxLimits,
) -> Program:
    kind = StepKind(program.last_step)
    step = steps[kind]
    if step is None:
        raise Mistake(f"{key}.last_step", "nothing is compiled here", 'leave it out, or say "run"')
    with _at(key):
        return Program(
            source=_file(f"{key}.file", program.file, folder),
            files=tuple(_file(f"{key}.files", name, folder) for name in program.files),
            arguments=tuple(program.arguments),
            stdin=program.stdin,
            last_step=kind,
            outcome=_outcome(f"{key}.outcome", program.outcome),
            stdout=program.stdout,
            stderr_contains=program.stderr_contains,
            limits=program.limits.over(step.limits),
            sandbox=program.sandbox.over(sandbox),
        )


def _file(key: str, name: str, folder: Path) -> Path:
    """A file of the environment's own folder, links included."""
    path = PurePosixPath(name)
    require(
        not path.is_absolute() and ".." not in path.parts and "\0" not in name,
        key,
        f"{name!r} leads out of the folder",
        "programs are kept beside environment.toml",
    )
    file = folder / path
    require(file.is_file(), key, f"there is no file {name!r}", "add it, or remove the program")
    require(
        file.resolve().is_relative_to(folder.resolve()),
        key,
        f"{name!r} is a link that leads out of the folder",
        "copy the file instead",
    )
    return file


def _outcome(key: str, text: str) -> Outcome:
    """The outcome whose `str` is `text`."""
    outcome = _promises().get(text)
    if outcome is None:
        raise Mistake(
            key,
            f"{text!r} is no outcome that a program can promise",
            "there are exited(CODE), signaled(NUMBER), timed_out(wall), timed_out(cpu), "
            "out_of_memory, output_limit",
        )
    return outcome


@cache
def _promises() -> dict[str, Outcome]:
    outcomes = (
        *(Outcome(kind=OutcomeKind.EXITED, code=code) for code in range(256)),
        *(Outcome(kind=OutcomeKind.SIGNALED, signal=number) for number in range(1, 65)),
        *(Outcome(kind=OutcomeKind.TIMED_OUT, clock=clock) for clock in ("wall", "cpu")),
        Outcome(kind=OutcomeKind.OUT_OF_MEMORY),
        Outcome(kind=OutcomeKind.OUTPUT_LIMIT),
    )
    return {str(outcome): outcome for outcome in outcomes}
