"""`assay demo`: sample programs in real sandboxes, what each cost, and how to go on."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from assay.agent.execution import Chunk
from assay.bootstrap import Catalogue, choose_driver, open_driver, sweep_abandoned
from assay.cli.context import Flags
from assay.cli.demo_grading import show_grading
from assay.cli.exit_status import Status
from assay.cli.failure import explanation
from assay.cli.interrupts import run_watched
from assay.cli.samples import Stopwatch, number, run_files
from assay.cli.show import bad, console, good, mebibytes, milliseconds, table
from assay.config import Settings
from assay.domain.errors import AssayError
from assay.domain.facts import Facts
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.driver.guard import Guard
from assay.driver.port import Capabilities
from assay.environments import ExecutionEnvironment, StepKind, plan

_MOST_LINES: Final = 6

COUNT: Final = """\
import time
for number in (3, 2, 1):
    print(number, end=" ", flush=True)
    time.sleep(0.2)
print("go")
"""
FORK_BOMB: Final = """\
import os
print("starting processes without end", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
MEMORY_HOG: Final = """\
print("taking all the memory there is", flush=True)
hoard = []
while True:
    hoard.append(bytearray(8 * 1024 * 1024))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A program to show: its file's name and text, and how it must end."""

    environment: ExecutionEnvironment
    name: str
    text: str
    about: str = ""
    ends: OutcomeKind = OutcomeKind.EXITED
    fails: bool = False
    """Where it exits: not with 0."""
    limits: ExecutionLimits | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What became of a sample."""

    sample: Sample
    create_seconds: float
    facts: Facts | None = None
    outcome: Outcome | None = None
    error: AssayError | None = None

    @property
    def as_expected(self) -> bool:
        """Whether it ended as it must."""
        outcome = self.outcome
        if outcome is None or outcome.kind is not self.sample.ends:
            return False
        return outcome.kind is not OutcomeKind.EXITED or outcome.success is not self.sample.fails


@click.command(
    epilog="""\b
Example:
  assay demo --driver runc
"""
)
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option(
    "--serve", is_flag=True,
    help="Then serve the API on this machine until Ctrl-C; without a terminal, for one request.",
)  # fmt: skip
@click.pass_obj
def demo(flags: Flags, *, driver: str | None, serve: bool) -> int:
    """A tour: sample programs in real sandboxes, and what each cost.

    Takes a few seconds, and leaves nothing behind. Ends with 1 if anything went otherwise than
    it must.
    """
    settings = flags.settings_for_sandboxes(driver=driver)
    catalogue = Catalogue(settings)
    out = console()
    shown = run_watched(lambda: _show_all(settings, catalogue, out))
    _print_costs(shown, out)
    for offer in catalogue.offers():
        if offer.problem is not None:
            out.print(f"left out: {offer.problem.message}")
    graded = show_grading(settings, catalogue, out)
    _say_how_to_go_on(catalogue, out)
    wrong = [each for each in shown if not each.as_expected]
    for each in wrong:
        out.print(bad(f"{each.sample.environment.name}/{each.sample.name} went wrong"))
    if not graded:
        out.print(bad("a submission is not worth what it must be"))
    if wrong or not shown or not graded:
        return Status.FAILED
    if serve:
        from assay.cli.demo_server import serve_demo

        return serve_demo(settings, catalogue, out)
    return 0


async def _show_all(settings: Settings, catalogue: Catalogue, out: Console) -> list[Shown]:
    name = await choose_driver(settings)
    stopwatch = Stopwatch()
    shown = []
    async with open_driver(settings, name, on_event=stopwatch.observe) as driver:
        health = await driver.probe()
        out.print(
            f"Every program gets a sandbox of its own, made by {name} {health.version}:"
            " its own users, processes and files, no network, no privileges."
        )
        await sweep_abandoned(settings, driver)
        with tempfile.TemporaryDirectory(prefix="assay-demo-") as folder:
            for sample in _samples(catalogue, driver.capabilities):
                shown.append(await _show(driver, catalogue, sample, Path(folder), stopwatch, out))
    return shown


def _samples(catalogue: Catalogue, capabilities: Capabilities) -> Iterator[Sample]:
    """What is usable here: every environment's hello program, then some that need watching."""
    usable = {offer.environment.name: offer.environment for offer in catalogue.offers()
              if offer.usable}  # fmt: skip
    for environment in usable.values():
        source = environment.hello.source
        yield Sample(environment=environment, name=source.name, text=source.read_text())
    python = usable.get("python")
    if python is None:
        return
    yield Sample(
        environment=python, name="count.py", text=COUNT, about="output comes while it is made"
    )
    yield Sample(
        environment=python,
        name="fork_bomb.py",
        text=FORK_BOMB,
        about=f"hostile; {python.sandbox.processes} processes are the limit, 1 s their time",
        ends=OutcomeKind.TIMED_OUT,
        limits=replace(python.run.limits, cpu_seconds=1.0),
    )
    yield Sample(
        environment=python,
        name="memory_hog.py",
        text=MEMORY_HOG,
        about=f"hostile; {python.sandbox.memory_bytes >> 20} MB of memory are the limit",
        # Without control groups the program is refused memory, and gives up by itself.
        ends=OutcomeKind.OUT_OF_MEMORY if capabilities.oom_facts else OutcomeKind.EXITED,
        fails=True,
    )


async def _show(
    driver: Guard,
    catalogue: Catalogue,
    sample: Sample,
    folder: Path,
    stopwatch: Stopwatch,
    out: Console,
) -> Shown:
    file = folder / sample.name
    file.write_text(sample.text)
    about = f"  ({sample.about})" if sample.about else ""
    out.print(f"\n{sample.environment.name}: {sample.name}{about}", style="bold")
    sink = _Indented(out)
    stopwatch.create_seconds = 0.0
    try:
        ready = catalogue.ready(sample.environment)
        step, facts, outcome = await run_files(
            driver,
            ready.root,
            sample.environment.sandbox,
            plan(ready.environment, sample.name, root=ready.root, limits=sample.limits),
            (file,),
            sink,
        )
    except AssayError as error:
        out.print(bad(f"  {explanation(error)}"))
        return Shown(sample=sample, create_seconds=stopwatch.create_seconds, error=error)
    sink.end()
    if step is StepKind.COMPILE:
        out.print(bad("  the compiler failed"))
    return Shown(
        sample=sample, create_seconds=stopwatch.create_seconds, facts=facts, outcome=outcome
    )


class _Indented:
    """Shows output as it comes, beneath its heading; no more than a few lines of it."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._at_line_start = True
        self._lines = 0

    async def take(self, chunk: Chunk) -> None:
        for line in chunk.data.decode(errors="replace").splitlines(keepends=True):
            self._show(line)
        self._out.file.flush()

    def _show(self, line: str) -> None:
        if self._lines >= _MOST_LINES:
            return
        if self._at_line_start:
            self._out.print("  │ ", end="", style="dim")
        text = "".join(letter if letter.isprintable() else " " for letter in line.rstrip("\n"))
        self._out.out(text, end="")
        self._at_line_start = line.endswith("\n")
        if self._at_line_start:
            self._out.print()
            self._lines += 1

    def end(self) -> None:
        if not self._at_line_start:
            self._out.print()


def _print_costs(shown: list[Shown], out: Console) -> None:
    numbers = ("create ms", "run ms", "cpu ms", "peak MB")
    costs = table("program", "outcome", *numbers, right=numbers)
    for each in shown:
        facts = each.facts or Facts(lost="it did not run")
        outcome = str(each.outcome or (each.error and each.error.code))
        costs.add_row(
            f"{each.sample.environment.name}/{each.sample.name}",
            good(outcome) if each.as_expected else bad(outcome),
            f"{each.create_seconds * 1000:.1f}",
            milliseconds(number(facts.wall_ns)),
            milliseconds(number(facts.cpu_ns)),
            mebibytes(number(facts.peak_memory_bytes)),
        )
    out.print()
    out.print(costs)
    out.print(
        "create: to make the sandbox; run: from start to exit; peak: of its memory", style="dim"
    )


def _say_how_to_go_on(catalogue: Catalogue, out: Console) -> None:
    command = _own_command()
    example = next(
        (program.source for each in catalogue.environments if each.name == "python"
         for program in each.programs if program.stdin),
        Path("PROGRAM.py"),
    )  # fmt: skip
    out.print("\nHow to go on:", style="bold")
    for line, what in (
        (f"{command} run {_relative(example)}", "talk to a program"),
        (f"{command} run --help", "files, limits, JSON"),
        (f"{command} task new sum", "a task to begin with, for teachers"),
        (f"{command} doctor", "what works on this machine"),
    ):
        out.print(f"  {line:<50}  {what}")


def _own_command() -> str:
    """How the user calls us: by ./dev in a checkout whose environment isn't activated."""
    door = Path(sys.prefix).parent / "dev"
    if shutil.which("assay") is None and door.is_file():
        return f"{_relative(door)} assay" if door.parent != Path.cwd() else "./dev assay"
    return "assay"


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
