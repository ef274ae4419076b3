"""The life of a sandbox with some work in it, each phase timed."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import pairwise
from typing import Final

from assay.agent.session import Session, connect
from assay.agent.witness import surely
from assay.bench.startup.workloads import Workload
from assay.bench.subject import Subject
from assay.driver.port import Driver, Sandbox

PHASES: Final = ("create", "launch", "execute", "stop", "clean")
"""Until it is there; until it has answered; the work; until its process 1 is gone; until all is."""
_SECONDS_BETWEEN_LOOKS: Final = 0.002


async def live(subject: Subject, workload: Workload) -> dict[str, float]:
    """One life; seconds of each phase. Raises AssayError, with nothing left."""
    driver, spec = subject.driver, subject.specification()
    moments = [time.perf_counter()]
    sandbox = await driver.create(spec)
    moments.append(time.perf_counter())
    try:
        agent = await connect(
            driver, sandbox.id, spec.secret, user=spec.root.user, group=spec.root.group
        )
        try:
            moments.append(time.perf_counter())
            executed = await workload.run(Session(driver, sandbox, agent))
        finally:
            await agent.aclose()
    except BaseException:
        await surely(driver.destroy(sandbox.id))
        raise
    began = time.perf_counter()
    stopped, gone = await _destroyed(driver, sandbox)
    created, launched = (later - earlier for earlier, later in pairwise(moments))
    return dict(
        zip(PHASES, (created, launched, executed, stopped - began, gone - stopped), strict=True)
    )


async def _destroyed(driver: Driver, sandbox: Sandbox) -> tuple[float, float]:
    """When its process 1 was gone, and when all of it was."""
    watch = asyncio.ensure_future(_stopped(driver, sandbox))
    await asyncio.sleep(0)  # the watch begins before the end does
    try:
        await surely(driver.destroy(sandbox.id))
        gone = time.perf_counter()
    finally:
        watch.cancel()
        await asyncio.wait([watch])
    stopped = gone if watch.cancelled() or watch.exception() else watch.result()
    return min(stopped, gone), gone


async def _stopped(driver: Driver, sandbox: Sandbox) -> float:
    """Return when it has no process 1 any more; by asking again and again where that isn't ours."""
    process = sandbox.facts.get("process", "")
    if not process.isdecimal():
        while (state := await driver.examine(sandbox.id)) and state.running:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        return time.perf_counter()
    try:
        descriptor = os.pidfd_open(int(process))
    except ProcessLookupError:
        return time.perf_counter()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
        return time.perf_counter()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
