"""`assay doctor`: what works on this machine, and what mends the rest."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Set

import click

from assay.bootstrap import (
    OURS,
    PREFERRED,
    Catalogue,
    driver_names,
    forget_choice,
    is_driver,
    make_driver,
    prepare_process,
    root_filesystem,
)
from assay.bootstrap.devices import look_at_devices
from assay.bootstrap.technologies import look_at_technologies
from assay.cli.context import Flags
from assay.config import Settings
from assay.doctor.checks import examine_machine
from assay.doctor.checks.rights import without_root
from assay.doctor.collection import collect
from assay.doctor.document import document
from assay.doctor.environments import EnvironmentReport, examine_environments
from assay.doctor.facts import Machine
from assay.doctor.programs import find_programs
from assay.doctor.report import Report
from assay.doctor.text import plain, render
from assay.doctor.trial import explained, try_driver
from assay.domain.errors import AssayError, UnknownDriver
from assay.driver.port import Problem, RootFilesystem


@click.command(short_help="What works on this machine, and what mends the rest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/doctor.md).")
@click.option("--driver", metavar="D", help="Try this driver only, whichever it is.")
@click.option(
    "--sandboxes", type=click.IntRange(1, 100_000), default=500, show_default=True, metavar="N",
    help="How many sandboxes the machine is meant to hold.",
)  # fmt: skip
@click.pass_obj
def doctor(flags: Flags, as_json: bool, driver: str | None, sandboxes: int) -> int:
    """Say what works on this machine, what does not, and the commands that mend it.

    It makes a sandbox with each driver that can be the default and is installed (lean, crun, runc,
    lxc, runsc), and with that of the settings, and runs `true` in it; others are tried with
    --driver. Exit status 0 if one works, else 1.
    """
    settings = flags.settings()
    if driver is not None and not is_driver(driver):
        raise UnknownDriver(
            f"no driver is called {driver!r}; there are {', '.join(driver_names())}"
        )
    programs = find_programs(path=os.environ.get("PATH"))
    # Before this process leaves the namespace of the user whom it is to report about.
    machine = collect(
        state=settings.state, sandboxes=sandboxes, programs=programs,
        devices=look_at_devices(settings), technologies=look_at_technologies(settings),
    )  # fmt: skip
    cause = None
    try:
        prepare_process(settings, driver)
    except AssayError as error:
        cause = without_root(machine, error)
    report = asyncio.run(_examine(settings, driver, machine, cause))
    if as_json:
        click.echo(json.dumps(document(report, programs), indent=2))
    else:
        click.echo(_text(report))
    return 0 if report.works else 1


async def _examine(
    settings: Settings, driver: str | None, machine: Machine, cause: Problem | None
) -> Report:
    """`cause`: why this process is none that can make sandboxes, if it isn't."""
    root_of = functools.cache(functools.partial(root_filesystem, settings))
    make, root = functools.partial(make_driver, settings), _host_image(root_of)
    # One after the other, for the sake of the timings.
    names = _names(settings, driver, {each.name for each in machine.programs})
    drivers = [explained(await try_driver(name, make, root), cause) for name in names]
    if driver is None:
        # The next `assay run` finds out anew, as whoever is here may just have mended something.
        forget_choice(settings)
    return Report(
        sections=examine_machine(machine),
        drivers=tuple(drivers),
        environments=_environments(settings, root_of),
        preferred=settings.driver,
        every_driver=driver is None,
    )


def _names(settings: Settings, driver: str | None, installed: Set[str]) -> tuple[str, ...]:
    if driver is not None:
        return (driver,)
    wanted = (settings.driver,) if settings.driver and is_driver(settings.driver) else ()
    # Nobody needs all of them: what is not there is a fault only if it was asked for.
    there = installed | settings.runtimes.keys() | {OURS}
    return tuple(dict.fromkeys((*wanted, *(name for name in PREFERRED if name in there))))


def _environments(
    settings: Settings, root_of: Callable[[str], RootFilesystem]
) -> tuple[EnvironmentReport, ...]:
    catalogue = Catalogue(settings)
    try:
        return examine_environments(catalogue.environments, catalogue.broken, root_of)
    except AssayError as error:  # Assay's own environments are not there
        return examine_environments((), (error,), root_of)


def _host_image(root_of: Callable[[str], RootFilesystem]) -> RootFilesystem | None:
    """None when it can't be had: environments then say why."""
    try:
        return root_of("host")
    except AssayError:
        return None


def _text(report: Report) -> str:
    terminal = sys.stdout.isatty()
    colours = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = shutil.get_terminal_size().columns if terminal else None
    return render(
        report, width=width, paint=_paint if colours else plain, ascii_only=not _speaks_unicode()
    )


def _paint(text: str, style: str) -> str:
    if style in ("bold", "dim"):
        return click.style(text, **{style: True})
    return click.style(text, fg=style)


def _speaks_unicode() -> bool:
    try:
        "✓✗·…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
