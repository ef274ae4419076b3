"""Tries drivers: makes a sandbox with each and runs `true` in it, for there is no better check."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from assay.agent.files import write_file
from assay.agent.native import program
from assay.agent.session import Session, open_session
from assay.domain.command import WORKSPACE, Command
from assay.domain.errors import AssayError, RuntimeFailed
from assay.domain.limits import ExecutionLimits
from assay.driver.port import (
    Capabilities,
    Driver,
    Health,
    Problem,
    RootFilesystem,
    SandboxSpec,
    Secret,
)

_SECONDS: Final = 20.0
_UNCLAIMED_SECONDS: Final = 30
"""Its agent ends the sandbox so long after this process was killed."""
_LIMITS: Final = ExecutionLimits(wall_seconds=5.0, cpu_seconds=5.0)
_ASK_US: Final = "assay doctor"
"""The remedy of a driver that leaves it to this report to say what is wrong."""
_PATH: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """How long it took, in seconds."""

    create: float
    """Until the agent answered."""
    run: float
    """`true`, from the call to its facts."""
    destroy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverReport:
    """Whether a driver works here."""

    name: str
    works: bool
    version: str = ""
    timings: Timings | None = None
    capabilities: Capabilities | None = None
    problems: tuple[Problem, ...] = ()


async def try_driver(
    name: str, make: Callable[[str], Driver], root: RootFilesystem | None
) -> DriverReport:
    """Make a driver, a sandbox of `root` with it, and run `true`. Never raises.

    Without a root file system, or where it would have to be copied first, it goes by what the
    driver says of itself.
    """
    try:
        driver = make(name)
    except Exception as error:
        return DriverReport(name=name, works=False, problems=(_problem(error),))
    try:
        async with asyncio.timeout(_SECONDS):
            return await _tried(driver, root)
    except TimeoutError:
        late = Problem(summary=f"no answer within {_SECONDS:g} seconds")
        return DriverReport(name=name, works=False, problems=(late,))
    except Exception as error:  # a defect of one driver must not hide what the others do
        return DriverReport(name=name, works=False, problems=(_problem(error),))
    finally:
        await driver.aclose()


def explained(report: DriverReport, cause: Problem | None) -> DriverReport:
    """The same; where its remedy is to ask the doctor, with what the doctor has found."""
    if cause is None:
        return report
    problems = (cause if each.remedy == _ASK_US else each for each in report.problems)
    return replace(report, problems=tuple(problems))


async def _tried(driver: Driver, root: RootFilesystem | None) -> DriverReport:
    health = await driver.probe()
    if not health.works or root is None or not driver.capabilities.images_in_place:
        return _report(driver, health, health.works)
    try:
        timings = await _run_true(driver, root)
    except (AssayError, OSError) as error:
        return _report(driver, health, False, _problem(error))
    return _report(driver, health, True, timings=timings)


def _report(
    driver: Driver, health: Health, works: bool, *more: Problem, timings: Timings | None = None
) -> DriverReport:
    return DriverReport(
        name=driver.name,
        works=works,
        version=health.version,
        timings=timings,
        capabilities=driver.capabilities,
        problems=(*health.problems, *more),
    )


async def _run_true(driver: Driver, root: RootFilesystem) -> Timings:
    spec = SandboxSpec(
        root=root,
        secret=Secret(secrets.token_bytes(32)),
        unclaimed_seconds=_UNCLAIMED_SECONDS,
    )
    began = time.perf_counter()
    async with open_session(driver, spec) as session:
        made = time.perf_counter()
        missing = await _run(session, "true")
        ran = time.perf_counter()
        if missing:
            # An image need not hold anything; the suites' own static program will do.
            await write_file(
                session.agent, WORKSPACE, "probe", program("probe").read_bytes(), mode=0o755
            )
            ran = time.perf_counter()
            made += ran - made
            await _run(session, f"{WORKSPACE}/probe", "exit", "0")
            ran = time.perf_counter()
    ended = time.perf_counter()
    return Timings(create=made - began, run=ran - made, destroy=ended - ran)


async def _run(session: Session, *argv: str) -> bool:
    """Run a program that must succeed; True if the sandbox does not have it."""
    command = Command(argv=argv, environment=_PATH, limits=_LIMITS)
    completed = await session.run(command)
    if completed.facts.start_error == "ENOENT":
        return True
    if not completed.outcome.success:
        raise RuntimeFailed(f"`{argv[0]}` in a sandbox ended with {completed.outcome}")
    return False


def _problem(error: Exception) -> Problem:
    if isinstance(error, AssayError):
        text = ": ".join(filter(None, (error.message, error.detail)))
    else:
        text = f"{type(error).__name__}: {error}"
    return Problem(summary=" ".join(text.split()))
