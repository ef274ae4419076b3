"""`assay bench`: every promised number, beside its floor."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from assay.bench import (
    Progress,
    Report,
    Subject,
    bridges,
    executions,
    ideas,
    images,
    interpreters,
    soak,
    stream,
)
from assay.bench.startup import FULL
from assay.bootstrap import OURS, choose_driver
from assay.bootstrap.subjects import open_bridged, open_subject
from assay.cli.bench_delays import delays
from assay.cli.bench_grading import grading
from assay.cli.bench_jobe import jobe
from assay.cli.bench_load import load
from assay.cli.bench_orchestrator import orchestrator
from assay.cli.bench_output import (
    STANDARD_OUTPUT,
    as_document,
    driver_option,
    json_option,
    run_in_servers_loop,
    write,
)
from assay.cli.bench_profile import profile
from assay.cli.bench_queue import bench_queue
from assay.cli.bench_startup import measure_chosen, startup
from assay.cli.bench_table import progress_bar, show, show_startup
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import Interrupts
from assay.config import Settings

Measure = Callable[[Sequence[Subject], int, Progress], Awaitable[Report]]

_EPILOG: Final = """\b
Examples:
  assay bench exec                           against the fastest driver that works
  assay bench startup --all                  every technology that works here, in turns
  assay bench ideas                          what each idea for faster sandboxes saves
  assay bench interpreters                   a Python that waits, beside one that starts
  assay bench load                           a server under load: assay bench load --help
  assay bench grading                        submissions of small tasks, and a grader's commands
  assay bench delays                         the five delays of submissions to a server
  assay bench queue                          submissions in and out, durably
  assay bench jobe                           programs by the API of Jobe
  assay bench orchestrator                   sandboxes on many machines, and what placing costs
  assay bench profile                        where the microseconds go
  assay bench all --json numbers.json        exec, startup, ideas, images, interpreters, stream,
                                             soak, and every sample to a file

docs/benchmarks.md says how to read the figures. The exit status is 1 when a promise is not kept.
"""


async def _exec(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    return await executions.measure(subjects, repeats=repeats, progress=progress)


async def _stream(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    return await stream.measure(subjects, repeats=repeats, progress=progress)


async def _soak(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    return await soak.measure(subjects, repeats=repeats, progress=progress)


async def _images(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    return await images.measure(subjects, repeats=repeats, progress=progress)


async def _ideas(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    return await ideas.measure(subjects, repeats=repeats, progress=progress)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Benchmark:
    """One sub-command."""

    measure: Measure
    repeats: int
    prepared: bool = False
    """Also of drivers that prepare sandboxes, when they have."""
    show: Callable[[Report], None] = show


async def _interpreters(
    subjects: Sequence[Subject], repeats: int, progress: Progress, *, packages: Path | None = None
) -> Report:
    return await interpreters.measure(
        subjects, repeats=repeats, progress=progress, packages=packages
    )


_EXEC: Final = _Benchmark(measure=_exec, repeats=200)
_STARTUP: Final = _Benchmark(measure=measure_chosen, repeats=20, prepared=True, show=show_startup)
_IDEAS: Final = _Benchmark(measure=_ideas, repeats=50, prepared=True)
_IMAGES: Final = _Benchmark(measure=_images, repeats=40)
_INTERPRETERS: Final = _Benchmark(measure=_interpreters, repeats=20)
_STREAM: Final = _Benchmark(measure=_stream, repeats=10)
_SOAK: Final = _Benchmark(measure=_soak, repeats=soak.EXECUTIONS)
ALL: Final = {
    "exec": _EXEC, "startup": _STARTUP, "ideas": _IDEAS, "images": _IMAGES,
    "interpreters": _INTERPRETERS, "stream": _STREAM, "soak": _SOAK,
}  # fmt: skip
"""What `assay bench all` runs."""


def _repeats_option(default: int, what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(
        "--repeats", type=click.IntRange(min=1), default=default, show_default=True, metavar="N",
        help=what,
    )  # fmt: skip


@click.group(epilog=_EPILOG)
def bench() -> None:
    """Measure what is promised, each figure beside its floor in the same run."""


bench.add_command(delays)
bench.add_command(grading)
bench.add_command(load)
bench.add_command(jobe)
bench.add_command(profile)
bench.add_command(bench_queue)
bench.add_command(startup)
bench.add_command(orchestrator)


@bench.command("exec")
@_repeats_option(_EXEC.repeats, "Of each program, inside and outside.")
@driver_option
@json_option
@click.pass_obj
def exec_command(flags: Flags, repeats: int, drivers: tuple[str, ...], json_to: str | None) -> int:
    """Programs in a warm sandbox: from the caller's call to the exit facts."""
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(_EXEC, repeats)])


@bench.command("images")
@_repeats_option(_IMAGES.repeats, "Sandboxes of each image, one by one.")
@driver_option
@json_option
@click.pass_obj
def images_command(
    flags: Flags, repeats: int, drivers: tuple[str, ...], json_to: str | None
) -> int:
    """Sandboxes of images beside `host`; 20 images and 500 sandboxes that share their files."""
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(_IMAGES, repeats)])


@bench.command("interpreters")
@_repeats_option(_INTERPRETERS.repeats, "Of each program, with one that waits and without.")
@click.option(
    "--packages", metavar="FOLDER", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="With pandas in it: pip install --target FOLDER pandas. [this machine's own]",
)  # fmt: skip
@driver_option
@json_option
@click.pass_obj
def interpreters_command(
    flags: Flags, repeats: int, packages: Path | None, drivers: tuple[str, ...], json_to: str | None
) -> int:
    """A Python that waits for the next program, beside one that is started for it."""
    if not interpreters.pandas_is_there(packages):
        click.echo(interpreters.ADVICE, err=True)
    measure = functools.partial(_interpreters, packages=packages)
    benchmark = _Benchmark(measure=measure, repeats=repeats)
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(benchmark, repeats)])


@bench.command("ideas")
@_repeats_option(_IDEAS.repeats, "Of each.")
@driver_option
@json_option
@click.pass_obj
def ideas_command(flags: Flags, repeats: int, drivers: tuple[str, ...], json_to: str | None) -> int:
    """What each idea for faster sandboxes saves, one at a time."""
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(_IDEAS, repeats)])


@bench.command("bridge")
@_repeats_option(5, "Of each transfer, by each way.")
@click.option("--engine", type=click.Choice(["docker", "podman"]), default="docker", help="Which.")
@json_option
@click.pass_obj
def bridge_command(flags: Flags, repeats: int, engine: str, json_to: str | None) -> int:
    """What is carried by `agent bridge`, as to engines elsewhere, beside the sandbox's socket."""
    load_before = os.getloadavg()[0]
    settings, tables = flags.settings_for_sandboxes(), json_to != STANDARD_OUTPUT
    try:
        report = run_in_servers_loop(_measure_bridge(settings, engine, repeats, tables=tables))
    except asyncio.CancelledError:
        return Status.CANCELLED
    if json_to is not None:
        write(json_to, json.dumps(as_document([report], load_before), indent=2))
    return 0


async def _measure_bridge(settings: Settings, engine: str, repeats: int, *, tables: bool) -> Report:
    with Interrupts().watched():
        async with open_bridged(settings, engine) as (socket, bridge):
            with progress_bar() as progress:
                report = await bridges.measure(socket, bridge, repeats=repeats, progress=progress)
    if tables:
        show(report)
    return report


@bench.command("stream")
@_repeats_option(_STREAM.repeats, "Of each transfer.")
@driver_option
@json_option
@click.pass_obj
def stream_command(
    flags: Flags, repeats: int, drivers: tuple[str, ...], json_to: str | None
) -> int:
    """Output and files at full speed, memory, and a keystroke's echo meanwhile."""
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(_STREAM, repeats)])


@bench.command("soak")
@_repeats_option(_SOAK.repeats, "Executions.")
@driver_option
@json_option
@click.pass_obj
def soak_command(flags: Flags, repeats: int, drivers: tuple[str, ...], json_to: str | None) -> int:
    """Thousands of executions, good and bad ones: does anything grow?"""
    return _run(flags.settings_for_sandboxes(), drivers, json_to, [(_SOAK, repeats)])


@bench.command("all")
@driver_option
@json_option
@click.pass_obj
def all_command(flags: Flags, drivers: tuple[str, ...], json_to: str | None) -> int:
    """Run exec, startup, ideas, images, interpreters, stream, soak.

    One after the other: that takes a few minutes for each driver.
    """
    plan = [(one, one.repeats) for one in ALL.values()]
    return _run(flags.settings_for_sandboxes(), drivers, json_to, plan)


def _run(
    settings: Settings,
    drivers: Sequence[str],
    json_to: str | None,
    plan: Sequence[tuple[_Benchmark, int]],
) -> int:
    load = os.getloadavg()[0]
    try:
        reports = run_in_servers_loop(
            _measure(settings, drivers, plan, tables=json_to != STANDARD_OUTPUT)
        )
    except asyncio.CancelledError:
        return Status.CANCELLED
    if json_to is not None:
        write(json_to, json.dumps(as_document(reports, load), indent=2))
    return 0 if all(report.kept for report in reports) else Status.FAILED


async def _measure(
    settings: Settings,
    drivers: Sequence[str],
    plan: Sequence[tuple[_Benchmark, int]],
    *,
    tables: bool,
) -> list[Report]:
    reports = []
    with Interrupts().watched():
        prepared = any(benchmark.prepared for benchmark, _ in plan)
        async with _subjects(settings, drivers, prepared=prepared) as subjects:
            for benchmark, repeats in plan:
                wanted = [each for each in subjects if benchmark.prepared or not each.prepared]
                with progress_bar() as progress:
                    reports.append(await benchmark.measure(wanted, repeats, progress))
                if tables:
                    benchmark.show(reports[-1])
    return reports


@contextlib.asynccontextmanager
async def _subjects(
    settings: Settings, names: Sequence[str], *, prepared: bool
) -> AsyncIterator[list[Subject]]:
    chosen = list(dict.fromkeys(names) or (await choose_driver(settings),))
    stocks = [(name, 0) for name in chosen]
    if prepared and OURS in chosen:
        stocks.append((OURS, FULL.largest))
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_subject(settings, name, stock=stock))
            for name, stock in stocks
        ]
