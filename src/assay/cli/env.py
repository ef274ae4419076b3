"""`assay env list` and `assay env test`; env_images.py has the commands about images."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import PurePosixPath
from typing import Any

import click

from assay.bootstrap import Catalogue, Offer, choose_driver, holding, open_driver
from assay.cli.context import Flags
from assay.cli.env_images import build, gc, images, pull
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.samples import Trial, complaint, number, try_program
from assay.cli.show import bad, console, good, milliseconds, print_json, table
from assay.config import Settings
from assay.domain.errors import AssayError
from assay.domain.outcome import OutcomeKind
from assay.driver.port import Driver
from assay.environments import ExecutionEnvironment, Program


@click.group(
    epilog="""\b
Examples:
  assay env list
  assay env test python c
  assay --environments ./mine env test pascal
  assay env build ./                         the Dockerfile here, for `assay run --image ./`
  assay env pull debian:12                   what the tag stands for now
  assay env images                           which there are, and who needs them
  assay env gc --dry-run                     which nobody needs
"""
)
def env() -> None:
    """Execution environments: folders that say how programs of a language are run.

    docs/environments.md explains how to add one.
    """


for _command in (pull, build, images, gc):
    env.add_command(_command)


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def list_(flags: Flags, *, as_json: bool) -> int:
    """List the environments, and why some can't be used here."""
    catalogue = Catalogue(flags.settings())
    offers = catalogue.offers()
    if as_json:
        broken = [problem.message for problem in catalogue.broken]
        print_json({"environments": [_as_data(offer) for offer in offers], "broken": broken})
        return 0
    shown = table("name", "language", "files", "memory", "time", "image", "waiting", "usable")
    for offer in offers:
        each = offer.environment
        shown.add_row(
            each.name, each.title, " ".join(each.extensions),
            f"{each.sandbox.memory_bytes >> 20} MB", f"{each.run.limits.wall_seconds:g} s",
            each.image.replace(f"{each.folder}/", "./"), _waiting(each),
            good("yes") if offer.usable else bad("no"),
        )  # fmt: skip
    out = console()
    out.print(shown)
    for offer in offers:  # below the table, where a line is as long as a command that mends it
        if offer.problem is not None:
            reason = f"{offer.environment.name}: {offer.problem.message}"
            out.print(bad(reason), soft_wrap=True)
    for problem in catalogue.broken:
        out.print(bad(problem.message))
    return 0


def _waiting(environment: ExecutionEnvironment) -> str:
    """What its warm sandboxes have ready for the next program."""
    if environment.preimport is None:
        return ""
    return " ".join(environment.preimport) or PurePosixPath(environment.run.argv[0]).name


def _as_data(offer: Offer) -> dict[str, Any]:
    each = offer.environment
    return {
        "name": each.name,
        "title": each.title,
        "extensions": list(each.extensions),
        "image": each.image,
        "folder": str(each.folder),
        "devices": [device.name for device in each.devices],
        "preimport": None if each.preimport is None else list(each.preimport),
        "usable": offer.usable,
        "problem": "" if offer.problem is None else offer.problem.message,
    }


@env.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def test(flags: Flags, *, names: tuple[str, ...], driver: str | None, as_json: bool) -> int:
    """Run each environment's sample programs: they must end as it promises.

    Without names: all that can be used here. A named one that can't be used is an error.
    """
    settings = flags.settings_for_sandboxes(driver=driver)
    catalogue = Catalogue(settings)
    wanted = [catalogue.named(name) for name in dict.fromkeys(names)]
    with shown_progress(quiet=as_json) as on_progress:
        for environment in wanted:
            catalogue.ready(environment, on_progress=on_progress)
    offers = catalogue.offers()
    left_out = [] if wanted else [offer for offer in offers if not offer.usable]
    wanted = wanted or [offer.environment for offer in offers if offer.usable]
    progress = _Progress(quiet=as_json)
    results = run_watched(lambda: _test_all(settings, catalogue, wanted, progress))
    failed = [result for result in results if result["complaint"]] + list(catalogue.broken)
    if as_json:
        print_json({
            "passed": not failed,
            "programs": results,
            "unusable": [_as_data(offer) for offer in left_out],
            "broken": [problem.message for problem in catalogue.broken],
        })  # fmt: skip
    else:
        progress.conclude(results, left_out, catalogue)
    return Status.FAILED if failed else 0


async def _test_all(
    settings: Settings,
    catalogue: Catalogue,
    environments: list[ExecutionEnvironment],
    progress: _Progress,
) -> list[dict[str, Any]]:
    """As many programs at a time as there are processors: most of them wait for a limit."""
    name = await choose_driver(settings)
    turns = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    async with open_driver(settings, name) as driver:

        async def test(environment: ExecutionEnvironment, program: Program) -> dict[str, Any]:
            async with turns:
                progress.begins(environment, program)
                result = await _test(settings, driver, catalogue, environment, program)
                progress.ended(result)
                return result

        async with asyncio.TaskGroup() as group:
            tasks = []
            for environment in environments:
                for program in environment.programs:
                    if _runs_out(program) and not driver.capabilities.oom_facts:
                        progress.leave_out(f"{environment.name}/{program.source.name}", name)
                    else:
                        tasks.append(group.create_task(test(environment, program)))
    return [task.result() for task in tasks]


def _runs_out(program: Program) -> bool:
    return program.outcome.kind is OutcomeKind.OUT_OF_MEMORY


async def _test(
    settings: Settings,
    driver: Driver,
    catalogue: Catalogue,
    environment: ExecutionEnvironment,
    program: Program,
) -> dict[str, Any]:
    started = time.monotonic()
    trial: Trial | None = None
    try:
        ready = catalogue.ready(environment)
        with holding(settings, ready.image):
            trial = await try_program(driver, ready.root, ready.environment, program)
        wrong = complaint(program, trial)
    except AssayError as error:
        wrong = f"{error.code}: {error.message} {error.detail}".strip()
    return {
        "environment": environment.name,
        "program": str(program.source.relative_to(environment.folder)),
        "promised": str(program.outcome),
        "outcome": str(trial.outcome) if trial else None,
        "wall_ns": number(trial.facts.wall_ns) if trial else None,
        "seconds": round(time.monotonic() - started, 3),
        "complaint": wrong,
    }


class _Progress:
    """A line for each program as it ends, and below it what runs now."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = console()
        self._quiet = quiet
        self._status = self._console.status("")
        self._shown = False

    def begins(self, environment: ExecutionEnvironment, program: Program) -> None:
        if not self._quiet and self._console.is_terminal:
            self._status.update(f"{environment.name}: {program.source.name}")
            if not self._shown:
                self._shown = True
                self._status.start()

    def leave_out(self, program: str, driver: str) -> None:
        if not self._quiet:
            self._console.print(
                f"not tested: {program}: here {driver} does not know when memory runs out"
            )

    def ended(self, result: dict[str, Any]) -> None:
        if self._quiet:
            return
        verdict = bad(f"✗ {result['complaint']}") if result["complaint"] else good("✓")
        program = f"{result['environment']}/{result['program']}"
        duration = milliseconds(result["wall_ns"])
        line = f"{program:<44} {result['outcome'] or '':<16} {duration:>9} ms  "
        self._console.print(line, verdict, sep="")

    def conclude(
        self, results: list[dict[str, Any]], left_out: list[Offer], catalogue: Catalogue
    ) -> None:
        self._status.stop()
        for offer in left_out:
            if offer.problem is not None:
                self._console.print(f"not tested: {offer.problem.message}")
        for problem in catalogue.broken:
            self._console.print(bad(problem.message))
        failed = sum(1 for result in results if result["complaint"])
        names = {result["environment"] for result in results}
        summary = f"{len(results)} programs of {len(names)} environments"
        if failed:
            self._console.print(bad(f"{failed} of {summary} ended in another way than promised"))
        else:
            self._console.print(good(f"{summary}: all ended as promised"))
