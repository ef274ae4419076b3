"""`assay bench startup`: the sources' tables, of every technology, on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import click

from assay.bench import Progress, Remark, Report, Subject
from assay.bench.startup import FULL, QUICK, Plan, measure
from assay.bench.startup.findings import FAILED, LEFT_OUT, READY
from assay.bench.subject import explained
from assay.bootstrap import OURS, choose_driver, every_technology, orchestrators
from assay.bootstrap.subjects import (
    FROM_AFAR,
    Probed,
    open_subject,
    peers,
    probe_driver,
)
from assay.cli.bench_output import (
    STANDARD_OUTPUT,
    as_document,
    driver_option,
    json_option,
    run_in_servers_loop,
    writable,
    write,
)
from assay.cli.bench_table import progress_bar, show_startup
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import Interrupts
from assay.config import Settings
from assay.domain.errors import DriverUnavailable

_EPILOG: Final = """\b
Examples:
  assay bench startup --all                       every technology that works here, in turns
  assay bench startup --driver lean --driver crun --quick
  assay bench startup --driver crun --rounds 1=50 --rounds 20=5 --cycles 1
  assay bench startup --all --markdown table.md --svg table.svg
  assay bench startup --all --document docs/technologies.md

The first sandbox of each tells how long all of it will take. One that fails is shown as such and
doesn't end the run. docs/benchmarks.md says how to read the figures.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What was asked for."""

    plan: Plan
    drivers: Sequence[str]
    every: bool
    targets: Mapping[str, str]
    """The kind of what is to be written -> the file."""
    afar: Sequence[str] = ()
    """Engines that are measured as orchestrators have them, too."""

    @property
    def tables(self) -> bool:
        """Whether tables are printed: what goes to standard output stands there alone."""
        return STANDARD_OUTPUT not in self.targets.values()


rounds_option = click.option(
    "--rounds", multiple=True, metavar="SANDBOXES=ROUNDS",
    help="So many at once, so often; may be repeated. [1=20, 10=5, 100=3]",
)  # fmt: skip
markdown_option = click.option(
    "--markdown", metavar="[FILE]", is_flag=False, flag_value=STANDARD_OUTPUT, callback=writable,
    help="Write the tables to FILE as Markdown; without FILE, print them so.",
)  # fmt: skip
svg_option = click.option(
    "--svg", metavar="FILE", callback=writable, help="Write the tables to FILE as a picture."
)  # fmt: skip


@click.command("startup", epilog=_EPILOG)
@driver_option
@click.option("--all", "every", is_flag=True, help="Every driver that works here.")
@rounds_option
@click.option(
    "--cycles", type=click.IntRange(min=0), metavar="N",
    help=f"Lives of a sandbox with each of the works. [{FULL.cycles}]",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Fewer rounds: 1=5, 10=2, 100=1, and two lives.")
@json_option
@markdown_option
@svg_option
@click.option(
    "--document", metavar="FILE", callback=writable,
    help="Write a page on all technologies to FILE, and a picture beside it.",
)  # fmt: skip
@click.pass_obj
def startup(
    flags: Flags,
    /,
    *,
    drivers: tuple[str, ...],
    every: bool,
    rounds: tuple[str, ...],
    cycles: int | None,
    quick: bool,
    json_to: str | None,
    markdown: str | None,
    svg: str | None,
    document: str | None,
) -> int:
    """1, 10, 100 sandboxes at once and their memory; a sandbox's life, each phase timed."""
    targets = {"json": json_to, "markdown": markdown, "svg": svg, "document": document}
    wanted = Wanted(
        plan=plan_of(QUICK if quick else FULL, rounds, cycles),
        drivers=drivers,
        every=every,
        targets={kind: target for kind, target in targets.items() if target is not None},
    )
    return carry_out(flags, wanted)


def carry_out(flags: Flags, wanted: Wanted) -> int:
    """Measure, print and write what is wanted; the exit status."""
    load = os.getloadavg()[0]
    began = time.monotonic()
    settings = flags.settings_for_sandboxes()
    try:
        report, probed = run_in_servers_loop(_measured(settings, wanted))
    except asyncio.CancelledError:
        return Status.CANCELLED
    _write_all(wanted, report, probed, load, time.monotonic() - began)
    failed = any(remark.kind == FAILED for remark in report.remarks)
    return 0 if report.kept and not failed else Status.FAILED


def plan_of(usual: Plan, rounds: Sequence[str], cycles: int | None) -> Plan:
    """The usual plan, but for what flags say. Raises BadParameter."""
    at_once = dict(map(_rounds, rounds)) or usual.at_once
    return Plan(
        at_once=MappingProxyType(dict(at_once)), cycles=usual.cycles if cycles is None else cycles
    )


def _rounds(text: str) -> tuple[int, int]:
    count, _, times = text.partition("=")
    if not (count.isdecimal() and times.isdecimal() and 1 <= int(count) <= 1000 and int(times)):
        raise click.BadParameter(f"{text!r} is not like 10=5: 1 to 1000 sandboxes, and rounds")
    return int(count), int(times)


async def _measured(settings: Settings, wanted: Wanted) -> tuple[Report, list[Probed]]:
    with Interrupts().watched():
        names = tuple(dict.fromkeys(wanted.drivers)) or (
            every_technology() if wanted.every else (await choose_driver(settings),)
        )
        asked = tuple(dict.fromkeys((*names, *every_technology())))
        probed = [
            await probe_driver(settings, name)
            for name in (asked if "document" in wanted.targets else names)
        ]
        chosen = [each for each in probed if each.name in names]
        async with subjects_of(settings, chosen, wanted) as (subjects, remarks):
            with progress_bar() as progress:
                report = await measure(
                    subjects, plan=wanted.plan, progress=progress, peers=peers(), remarks=remarks,
                    announce=lambda text: click.echo(f"{text}, in turns", err=True),
                )  # fmt: skip
        if wanted.tables:
            show_startup(report)
    return report, probed


async def measure_chosen(subjects: Sequence[Subject], repeats: int, progress: Progress) -> Report:
    """The same as a part of `assay bench all`, of drivers that were opened for all parts."""
    plan = replace(FULL, at_once=MappingProxyType({**FULL.at_once, 1: repeats}), cycles=2)
    return await measure(subjects, plan=plan, progress=progress, peers=peers())


@contextlib.asynccontextmanager
async def subjects_of(
    settings: Settings, probed: Sequence[Probed], wanted: Wanted
) -> AsyncIterator[tuple[list[Subject], list[Remark]]]:
    """Those that work, open, and why the others don't. Raises DriverUnavailable if none does."""
    remarks = [
        Remark(driver=each.name, what="", kind=LEFT_OUT, reason=explained(each.health.problems))
        for each in probed
        if not each.health.works
    ]
    remarks += [
        Remark(driver=each.name, what="machines", kind=READY, reason=each.health.version)
        for each in probed
        if each.health.works and each.name in orchestrators()
    ]
    async with contextlib.AsyncExitStack() as stack:
        subjects = []
        for each in probed:
            for opened in _opened(settings, each.name, wanted) if each.health.works else ():
                subjects.append(await stack.enter_async_context(opened))
        if not subjects:
            raise DriverUnavailable(
                f"{'; '.join(f'{each.driver}: {each.reason}' for each in remarks)}"
            )
        yield subjects, remarks


def _opened(
    settings: Settings, name: str, wanted: Wanted
) -> Iterator[AbstractAsyncContextManager[Subject]]:
    """A driver in each way in which it is used."""
    yield open_subject(settings, name)
    if name == OURS:
        yield open_subject(settings, name, stock=wanted.plan.largest)
    if name in wanted.afar:
        yield open_subject(settings, name, manner=FROM_AFAR)


# --- what is written ------------------------------------------------------------------------------


def _write_all(
    wanted: Wanted, report: Report, probed: Sequence[Probed], load: float, seconds: float
) -> None:
    from assay.bench.startup.picture import picture
    from assay.bench.startup.tables import markdown

    targets = wanted.targets
    if "json" in targets:
        write(targets["json"], json.dumps(as_document([report], load), indent=2))
    if "markdown" in targets:
        write(targets["markdown"], markdown(report))
    if "svg" in targets:
        write(targets["svg"], picture(report))
    if "document" in targets:
        _write_document(Path(targets["document"]), report, probed, load, seconds)


def _write_document(
    target: Path, report: Report, probed: Sequence[Probed], load: float, seconds: float
) -> None:
    from assay.bench.startup.picture import picture
    from assay.bench.technologies import Conditions, Technology, document

    drawing = target.with_suffix(".svg")
    write(str(drawing), picture(report))
    conditions = Conditions(
        processors=len(os.sched_getaffinity(0)), virtual=_is_virtual(), load=load, seconds=seconds,
        picture=drawing.name,
    )  # fmt: skip
    technologies = [
        Technology(name=each.name, capabilities=each.capabilities, health=each.health)
        for each in probed
    ]
    write(str(target), document(report, technologies, conditions))


def _is_virtual() -> bool:
    """Whether the processor says that it is a hypervisor's."""
    return " hypervisor" in Path("/proc/cpuinfo").read_text()
