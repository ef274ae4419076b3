"""`assay driver list` and `assay driver check`."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from assay.bootstrap import (
    PREFERRED,
    driver_names,
    every_technology,
    make_driver,
    open_driver,
    prepare_process,
)
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.show import bad, console, good, print_json, table
from assay.config import Settings
from assay.domain.errors import AssayError, DriverUnavailable, InvalidInput
from assay.driver.port import Health, Problem
from assay.testing import CONFORMANCE, HOSTILE, Case, Report, Result, Verdict, bare_root, check


@click.group(
    epilog="""\b
Examples:
  assay driver list
  assay driver check crun
  assay driver check --all --only hostile
  assay driver check runc --case 'processes/*'
"""
)
def driver() -> None:
    """Drivers: the technologies that isolate."""


@driver.command("list")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def list_(flags: Flags, *, as_json: bool) -> int:
    """List the drivers, and whether each works here: it makes a sandbox to find out."""
    settings = flags.settings()
    refusal = _refusal(settings)
    found = run_watched(lambda: _probe_all(settings))
    working = [name for name in PREFERRED if found[name].works]
    default = settings.driver or next(iter(working), None)
    if as_json:
        print_json({
            "default": default,
            "drivers": [_as_data(name, health) for name, health in found.items()],
        })  # fmt: skip
        return 0
    shown = table("name", "version", "works", "")
    for name, health in found.items():
        remarks = ["the default"] if name == default else []
        # `assay doctor` says how to mend what is wrong with one that works all the same.
        remarks += [each.summary if health.works else each.explained for each in health.problems]
        works = good("yes") if health.works else bad("no")
        shown.add_row(name, health.version, works, "; ".join(remarks))
    console().print(shown)
    if refusal is not None:
        console().print(bad(refusal.message))
    return 0


def _refusal(settings: Settings) -> AssayError | None:
    """Why none of those that isolate can work for this user."""
    try:
        prepare_process(settings)
    except AssayError as error:
        return error
    return None


def _as_data(name: str, health: Health) -> dict[str, Any]:
    problems = [{"summary": p.summary, "remedy": p.remedy} for p in health.problems]
    return {
        "name": name, "works": health.works, "version": health.version, "problems": problems,
    }  # fmt: skip


async def _probe_all(settings: Settings) -> dict[str, Health]:
    names = tuple(dict.fromkeys((*every_technology(), *driver_names())))
    probes = await asyncio.gather(*(_probe(settings, name) for name in names))
    return dict(zip(names, probes, strict=True))


async def _probe(settings: Settings, name: str) -> Health:
    try:
        made = make_driver(settings, name)
    except InvalidInput as error:  # what is said of one of them is wrong; the others work
        return Health(works=False, problems=(Problem(summary=error.message),))
    try:
        return await made.probe()
    finally:
        await made.aclose()


@driver.command("check")
@click.argument("name", required=False)
@click.option("--all", "every", is_flag=True, help="Every driver that works here.")
@click.option("--only", type=click.Choice(["conformance", "hostile"]), help="One of the suites.")
@click.option(
    "--case", "patterns", multiple=True, metavar="NAME",
    help="Cases with this name; * stands for anything; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def check_(
    flags: Flags,
    *,
    name: str | None,
    every: bool,
    only: str | None,
    patterns: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run the conformance and the hostile suite against a driver.

    Takes minutes; a hostile case is watched from a neighbour's sandbox, which must not feel it.
    """
    if every == (name is not None):
        raise click.UsageError("name a driver, or say --all")
    settings = flags.settings()
    prepare_process(settings, name)
    cases = _cases(only, patterns)
    reports = run_watched(lambda: _check_all(settings, name, cases, quiet=as_json))
    if as_json:
        print_json({"reports": [report.as_data() for report in reports]})
    return 0 if all(report.green for report in reports) else Status.FAILED


def _cases(only: str | None, patterns: Sequence[str]) -> list[Case]:
    suites = {"conformance": CONFORMANCE, "hostile": HOSTILE}
    cases = [case for suite, found in suites.items() if only in (None, suite) for case in found]
    chosen: dict[str, Case] = {}
    for pattern in patterns:
        found = {case.name: case for case in cases if fnmatchcase(case.name, pattern)}
        if not found:
            close = get_close_matches(pattern, [case.name for case in cases], n=2)
            advice = f"; did you mean {' or '.join(close)}?" if close else ""
            raise click.UsageError(f"no case is called {pattern}{advice}")
        chosen |= found
    return list(chosen.values()) if patterns else cases


async def _check_all(
    settings: Settings, name: str | None, cases: list[Case], *, quiet: bool
) -> list[Report]:
    names = (name,) if name else every_technology()
    reports = []
    for each in names:
        health = await _probe(settings, each)
        if not health.works:
            problem = DriverUnavailable(_reason(each, health))
            if name:
                raise problem
            console(err=True).print(f"left out: {problem.message}")
            continue
        reports.append(await _check_one(settings, each, cases, quiet=quiet))
    if not reports:
        raise DriverUnavailable("no driver works on this machine; `assay doctor` says why")
    return reports


def _reason(name: str, health: Health) -> str:
    problems = "; ".join(each.explained for each in health.problems)
    return f"the driver {name} does not work here: {problems or 'it does not say why'}"


async def _check_one(settings: Settings, name: str, cases: list[Case], *, quiet: bool) -> Report:
    progress = _Progress(name, len(cases), quiet=quiet)
    async with open_driver(settings, name) as opened:
        with tempfile.TemporaryDirectory(dir=settings.state, prefix="check-") as folder:
            root = bare_root(await asyncio.to_thread(Path, folder))
            with progress:
                report = await check(opened, cases, root=root, on_progress=progress.update)
    progress.conclude(report)
    return report


class _Progress(contextlib.AbstractContextManager["_Progress"]):
    """Failures as they come; on a terminal a line that says where we are."""

    def __init__(self, driver: str, total: int, *, quiet: bool) -> None:
        self._driver, self._total, self._quiet = driver, total, quiet
        self._done = self._failed = 0
        self._console = console()
        self._status = self._console.status("")

    def __enter__(self) -> _Progress:
        if not self._quiet:
            self._console.print(f"{self._driver}: {self._total} cases")
            if self._console.is_terminal:
                self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def update(self, case: Case, result: Result | None) -> None:
        if self._quiet:
            return
        if result is None:
            failed = f", {self._failed} failed" if self._failed else ""
            where = f"{self._done + 1}/{self._total}{failed}  {case.name}"
            self._status.update(where)
            return
        self._done += 1
        self._failed += result.verdict is Verdict.FAILED
        mark = {
            Verdict.PASSED: good("✓"), Verdict.FAILED: bad("✗"), Verdict.SKIPPED: "–",
        }[result.verdict]  # fmt: skip
        reason = f"  {result.reason}" if result.reason else ""
        line = f" {case.name:<52} {result.seconds * 1000:>8.0f} ms{reason}"
        self._console.print(mark, line, sep="")

    def conclude(self, report: Report) -> None:
        """A table by group, then what each failed case had promised."""
        if self._quiet:
            return
        shown = table(
            report.driver, "passed", "failed", "skipped", "seconds",
            right=("passed", "failed", "skipped", "seconds"),
        )  # fmt: skip
        groups: dict[str, list[Result]] = {}
        for result in report.results:
            groups.setdefault(result.case.name.partition("/")[0], []).append(result)
        for group, results in (*groups.items(), ("all", list(report.results))):
            shown.add_row(group, *_counts(results))
        self._console.print()
        self._console.print(shown)
        for result in report.of(Verdict.FAILED):
            self._console.print(bad(f"✗ {result.case.name}: {result.case.sentence}"))
            self._console.print(f"    {result.reason}")
        if report.slowness > 1:
            self._console.print(
                f"times were scaled: this machine is {report.slowness:g} times slower than an"
                " ordinary one"
            )
        verdict = good("green") if report.green else bad("not green")
        self._console.print(f"{report.driver} is ", verdict, sep="")


def _counts(results: Sequence[Result]) -> list[str]:
    verdicts = [sum(result.verdict is verdict for result in results) for verdict in (
        Verdict.PASSED, Verdict.FAILED, Verdict.SKIPPED,
    )]  # fmt: skip
    seconds = sum(result.seconds for result in results)
    return [*(str(count) if count else "–" for count in verdicts), f"{seconds:.1f}"]
