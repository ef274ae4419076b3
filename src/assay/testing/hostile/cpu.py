"""Programs that burn, hide or misreport time.

How these cases fail when a protection is off: with times from wait4 alone, `short-children` and
`orphan-spin` are never counted; with a limit in the process (RLIMIT_CPU), every child gets the
limit anew.
"""

from __future__ import annotations

import asyncio
import time

from assay.domain.outcome import OutcomeKind
from assay.testing.case import (
    Failure,
    Group,
    NotTestable,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.conformance.limits import seconds
from assay.testing.hostile.processes import expect_only_agent
from assay.testing.verdicts import expect_refused
from assay.testing.workbench import Workbench

group = Group("cpu", hostile=True)

_NEEDS = {"threads": "exact_cpu_time", "short-children": "whole_cpu_time"}
_BURNERS = {
    "endless-loop": (("spin", "1000"), "An endless loop"),
    "threads": (("threads-spin", "8"), "Eight busy threads"),
    "children": (("fork-spin", "8"), "Eight busy children of a sleeping program"),
    "orphan": (("orphan-spin",), "A busy orphan of a sleeping program"),
    "short-children": (("short-children",), "Many short children that nobody waits for"),
}


def _add_burner(name: str, argv: tuple[str, ...], text: str) -> None:
    async def run(bench: Workbench) -> None:
        session = await bench.session(cpus=2.0)
        completed = await bench.run(session, *argv, cpu=0.4, wall=8.0)
        expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="cpu")
        cpu = seconds(completed.facts.cpu_ns, "CPU time")
        # Eight that wait are counted as if they ran, where time is not exact: that soon adds up.
        late = 0.1 if bench.capabilities.exact_cpu_time else bench.patient(0.1)
        expect(cpu >= 0.4, f"a limit of 0.4 s ended it after {cpu:.3f} s of CPU time")
        expect_in_time(
            cpu <= 0.4 + late, f"a limit of 0.4 s ended it after {cpu:.3f} s of CPU time"
        )
        await expect_only_agent(session)

    needs = [_NEEDS[name]] if name in _NEEDS else []
    group.add(name, f"{text} ends at the CPU limit, at most 100 ms late.", run, *needs)


for _name, (_argv, _text) in _BURNERS.items():
    _add_burner(_name, _argv, _text)


_STORMS = {
    "sync": "writing back all disks",
    "membarrier": "interrupting every processor",
    "sockets": "making and closing sockets",
    "threads": "starting and ending threads",
    "mappings": "mapping, protecting and unmapping memory",
    "files": "making and removing files",
    "signals": "signalling itself",
    "yield": "giving up the processor",
    "packets": "sending packets over its own loopback",
}


def _add_storm(kind: str, text: str) -> None:
    async def run(bench: Workbench) -> None:
        session = await bench.session()
        completed = await bench.run(session, "storm", kind, wall=1.0, cpu=None)
        expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
        await expect_only_agent(session)

    group.add(f"storm-{kind}", f"Eight processes {text} without end delay no neighbour.", run)


for _name, _text in _STORMS.items():
    _add_storm(_name, _text)


@group.case()
async def answer_before_the_loop(bench: Workbench) -> None:
    """What a program printed before it ran into its limit is kept, and it is no success."""
    completed = await bench.run(await bench.session(), "alloc", "1", "100", wall=0.3)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    expect_equal(completed.stdout, b"touched 1\n", "the output before the limit")


@group.case()
async def nothing_burns_on(bench: Workbench) -> None:
    """After a program's end nothing in its sandbox uses CPU time any more."""
    session = await bench.session()
    await bench.said(session, "hop", "8")
    await asyncio.sleep(0.1)
    before = await _cpu_of(bench, session.sandbox.id)
    await asyncio.sleep(0.5)
    used = await _cpu_of(bench, session.sandbox.id) - before
    expect(used < 20_000_000, f"{used / 1e6:.0f} ms of CPU time were used by nobody")


@group.case("cpu_limit", "exact_cpu_time")
async def share_of_the_processors(bench: Workbench) -> None:
    """A sandbox with half a processor takes twice as long on the clock, with eight threads too."""
    session = await bench.session(cpus=0.5)
    began = time.monotonic()
    completed = await bench.run(session, "threads-spin", "8", cpu=0.5, wall=8.0)
    took = time.monotonic() - began
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="cpu")
    expect(took > 0.8, f"half a processor gave 0.5 s of CPU time in {took:.2f} s")


@group.case()
async def setting_clocks(bench: Workbench) -> None:
    """No clock can be set, nor the machine be woken by an alarm."""
    expect_refused(
        await bench.said(await bench.session(), "clock"), own_kernel=bench.capabilities.own_kernel
    )


@group.case()
async def reading_input_slowly(bench: Workbench) -> None:
    """A program that waits for input that never comes ends at its wall limit."""
    started = await bench.start(await bench.session(), "cat", stdin=True, wall=0.5)
    await started.execution.write(b"x")
    _, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.TIMED_OUT, clock="wall")


async def _cpu_of(bench: Workbench, sandbox_id: str) -> int:
    state = await bench.driver.examine(sandbox_id)
    if state is None:
        raise Failure("the sandbox is gone")
    if state.cpu_ns is None:
        raise NotTestable("the host cannot see this technology's CPU time")
    return state.cpu_ns
