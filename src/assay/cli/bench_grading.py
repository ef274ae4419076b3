"""`assay bench grading`."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import click

from assay.bootstrap import Catalogue, choose_driver, open_driver
from assay.cli.bench_load import interruptible, require_client, shown
from assay.cli.bench_output import (
    STANDARD_OUTPUT,
    as_document,
    json_option,
    run_in_servers_loop,
    write,
)
from assay.cli.bench_table import progress_bar, show
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import Interrupts
from assay.config import Settings

if TYPE_CHECKING:
    from assay.bench import Report


@click.command("grading")
@click.option(
    "--repeats", type=click.IntRange(min=1), default=20, show_default=True, metavar="N",
    help="Submissions of each task.",
)  # fmt: skip
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option("--served", is_flag=True, help="By a server of our own, whose sandboxes are warm.")
@json_option
@click.pass_obj
def grading(
    flags: Flags, repeats: int, driver: str | None, served: bool, json_to: str | None
) -> int:
    """Submissions of small tasks, one with cases and two of INGInious; and a grader's commands.

    No sandbox waits for them: each is made when it is asked for. With --served, those of INGInious
    alone, by HTTP, from the request to the result.
    """
    load, settings = os.getloadavg()[0], flags.settings_for_sandboxes(driver=driver)
    try:
        if served:
            report = _served(driver, repeats, quiet=json_to == STANDARD_OUTPUT)
        else:
            report = run_in_servers_loop(_measure(settings, repeats))
    except asyncio.CancelledError:
        return Status.CANCELLED
    if json_to != STANDARD_OUTPUT:
        show(report)
    if json_to is not None:
        write(json_to, json.dumps(as_document([report], load), indent=2))
    return 0 if report.kept else Status.FAILED


def _served(driver: str | None, repeats: int, *, quiet: bool) -> Report:
    require_client()
    from assay.bench.load.gradings import measure as measure_served
    from assay.bench.load.setting import Setting

    async def measured(setting: Setting) -> Report:
        with interruptible(setting):
            return await measure_served(setting, repeats=repeats)

    with shown(quiet=quiet) as told:
        return asyncio.run(measured(Setting(told=told, driver=driver)))


async def _measure(settings: Settings, repeats: int) -> Report:
    from assay.bench.grading import measure
    from assay.bootstrap.places import DriverPlaces

    name = await choose_driver(settings)
    with Interrupts().watched():
        async with open_driver(settings, name) as driver:
            places = DriverPlaces(driver, Catalogue(settings))
            with progress_bar() as progress:
                return await measure(name, places, repeats=repeats, progress=progress)
