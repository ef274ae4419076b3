"""Programs that take memory, in every form that the kernel gives it in.

How these cases fail when a protection is off: kernel memory that is not charged shows as memory of
the host that is gone (`hoard` of pipes: gigabytes; of `tcp`: all that the host's sockets may have);
kernel objects that are counted for a user whom two sandboxes share, or for the whole machine
(terminals, asynchronous I/O), show as a neighbour that gets none. Time used inside the kernel, to
look for memory, that the dead have to pay back before they may go, shows as an end that comes
seconds late.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from asyncio.subprocess import DEVNULL
from pathlib import Path

from assay.agent.files import delete_files, list_files
from assay.agent.native import program
from assay.agent.session import AGENT_DIED, OVERDUE, Session
from assay.domain.command import WORKSPACE
from assay.domain.errors import ConnectionLost
from assay.domain.limits import MIB
from assay.domain.outcome import Outcome, OutcomeKind
from assay.testing.case import (
    Doubtful,
    Failure,
    Group,
    NotTestable,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.hostile.processes import ended_as_a_whole, expect_only_agent, expect_usable
from assay.testing.workbench import LOW, Workbench

group = Group("memory", hostile=True)

_OBJECTS = (
    "files", "pipes", "sockets", "rights", "epoll", "timers", "memfd", "inotify", "shm", "mqueue",
    "pty", "aio", "pagetables", "mappings", "locks", "dentries", "posix-timers", "signals",
    "shmfile", "locked", "tcp", "udp",
)  # fmt: skip
_OF_USERS = frozenset(("rights", "posix-timers", "signals"))
"""What the kernel counts for a user, and not for a group."""
_OF_NETWORKS = frozenset(("tcp", "udp"))
_HOST_SLACK = 300 * MIB
_HOARDS_SECONDS = 1.2
_SECONDS_UNTIL_SILENCE_IS_NOTICED = 20.0
_SECONDS_TO_ANSWER = 2.0
_SECONDS_FOR_TEN_SANDBOXES = 90.0
"""Where each program takes its sandbox along, an orchestrator makes ten, one after the other."""


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise Failure("the host does not say how much memory is available")


def _add_hoard(kind: str) -> None:
    async def run(bench: Workbench) -> None:
        greedy, other = await bench.session(), await bench.session(disk_bytes=64 * MIB)
        alone = await bench.said(other, "try", kind)
        available = _available()
        started = time.monotonic()
        hoard = await bench.start(greedy, "hoard", kind, wall=_HOARDS_SECONDS, cpu=None)
        await asyncio.sleep(0.8)
        taken = available - _available()
        expect_equal(await bench.said(other, "try", kind), alone, f"what another gets of {kind}")
        _, outcome = await hoard.conclude()
        late = time.monotonic() - started - _HOARDS_SECONDS
        soon = 1.0 if bench.capabilities.prompt_ends else _SECONDS_UNTIL_SILENCE_IS_NOTICED
        expect_in_time(
            late < bench.patient(soon), f"it was gone {late:.1f} s after its time was up"
        )
        fair = outcome.kind in (OutcomeKind.TIMED_OUT, OutcomeKind.OUT_OF_MEMORY)
        expect(fair or _unknown(bench, outcome), f"the outcome is {outcome}")
        most = LOW.memory_bytes + bench.capabilities.kernel_memory_bytes + _HOST_SLACK
        if taken >= most:  # or somebody else did
            raise Doubtful(f"it took {taken / MIB:.0f} MiB of the host's memory")
        if not fair or ended_as_a_whole(bench, outcome):
            return
        await expect_only_agent(greedy)
        await _expect_memory_back(bench, greedy)

    group.add(
        f"hoard-{kind}",
        f"All the {kind} that the kernel gives count as memory of the sandbox, and leave others"
        " theirs.",
        run,
        "memory_limit",
        "process_limit",
        *(("own_users",) if kind in _OF_USERS else ()),
        *(("socket_memory",) if kind in _OF_NETWORKS else ()),
        *(("own_terminals",) if kind == "pty" else ()),
    )


def _unknown(bench: Workbench, outcome: Outcome) -> bool:
    """Whether programs took too long to be gone, or their sandbox ended and nobody says why."""
    lost = outcome.kind is OutcomeKind.LOST and outcome.reason in (OVERDUE, AGENT_DIED)
    return lost and not bench.capabilities.prompt_ends


async def _expect_memory_back(bench: Workbench, session: Session) -> None:
    left = await list_files(session.agent, "/dev/shm")
    await delete_files(session.agent, "/dev/shm", *(one.name for one in left if one.name != "."))
    await bench.said(session, "alloc", "24", "0")


async def _session_after(bench: Workbench, session: Session) -> Session:
    """What serves after a program that was out of memory: the same sandbox, if that is promised.

    Another one only where this one has ended: whoever makes them may need seconds for each.
    """
    if bench.capabilities.oom_spares_sandbox or await _lives(bench, session):
        return session
    return await bench.session()


async def _lives(bench: Workbench, session: Session) -> bool:
    with contextlib.suppress(ConnectionLost, TimeoutError):
        async with asyncio.timeout(bench.patient(_SECONDS_TO_ANSWER)):
            await session.agent.ping()
            return True
    return False


def _slack(bench: Workbench) -> int:
    """MiB that a program may get beyond the limit, at most."""
    return bench.capabilities.kernel_memory_bytes // MIB


@group.case("memory_limit", "oom_facts")
async def eating_memory(bench: Workbench) -> None:
    """A program that takes too much is ended by the kernel, and the outcome says why."""
    session = await bench.session()
    completed = await bench.run(session, "eat", "0")
    expect_outcome(completed.outcome, OutcomeKind.OUT_OF_MEMORY)
    kills = completed.facts.oom_kills
    expect(kills is not None and kills.value >= 1, f"out-of-memory kills: {kills}")
    await expect_usable(bench, await _session_after(bench, session))


@group.case("memory_limit", "oom_facts", timeout=_SECONDS_FOR_TEN_SANDBOXES)
async def eating_memory_again_and_again(bench: Workbench) -> None:
    """Ten programs in a row that take too much: each outcome is right, the agent lives."""
    session = await bench.session()
    for _ in range(10):
        completed = await bench.run(session, "eat", "0")
        expect_outcome(completed.outcome, OutcomeKind.OUT_OF_MEMORY)
        session = await _session_after(bench, session)
        completed = await bench.run(session, "exit", "137")
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=137)


@group.case("memory_limit", "oom_facts")
async def child_that_eats(bench: Workbench) -> None:
    """A child killed for its memory decides the outcome, unless the program went on to end well."""
    session = await bench.session()
    completed = await bench.run(session, "eat-child", "1")
    expect_outcome(completed.outcome, OutcomeKind.OUT_OF_MEMORY)
    session = await _session_after(bench, session)
    completed = await bench.run(session, "eat-child", "0")
    kills = completed.facts.oom_kills
    expect(kills is not None and kills.value >= 1, f"out-of-memory kills: {kills}")
    # The kernel may choose the parent, too: then it is no success.
    expect(
        completed.outcome.success or completed.outcome.kind is OutcomeKind.OUT_OF_MEMORY,
        f"the outcome is {completed.outcome}",
    )


@group.case("memory_limit", "oom_facts")
async def crowd_that_eats(bench: Workbench) -> None:
    """Processes that eat, are killed and are replaced do not hit the agent or the neighbour."""
    session = await bench.session()
    completed = await bench.run(session, "eat-many", wall=5.0, cpu=None)
    expect_outcome(completed.outcome, OutcomeKind.OUT_OF_MEMORY)
    session = await _session_after(bench, session)
    await session.agent.ping()
    await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case("memory_limit")
async def other_execution_survives(bench: Workbench) -> None:
    """A small program beside one that eats is either untouched or reported as out of memory."""
    session = await bench.session()
    small = await bench.start(session, "cat", stdin=True)
    await bench.run(session, "eat", "0")
    if not small.execution.ended:
        await small.execution.end_input()
    _, outcome = await small.conclude()
    expect(
        outcome.success or outcome.kind is OutcomeKind.OUT_OF_MEMORY, f"the outcome is {outcome}"
    )


@group.case("memory_limit")
async def reserving_without_using(bench: Workbench) -> None:
    """Reserving a terabyte without touching it is allowed: run-time systems do that."""
    command = (str(program("probe")), "reserve", "1024")
    outside = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
    if await outside.wait() != 0:
        raise NotTestable("this kernel gives no program a terabyte of addresses")
    output = await bench.said(await bench.session(), "reserve", "1024")
    expect_equal(output, b"reserved\n", "the output")


@group.case()
async def recursing_for_ever(bench: Workbench) -> None:
    """Endless recursion ends by SIGSEGV at the stack's limit."""
    session = await bench.session()
    completed = await bench.run(session, "recurse")
    expect_outcome(completed.outcome, OutcomeKind.SIGNALED, signal=11)
    await expect_usable(bench, session)


@group.case("memory_limit", "disk_limit", "oom_facts")
async def files_are_memory(bench: Workbench) -> None:
    """Files in the writable layer count as memory, and removing them gives it back."""
    session = await bench.session(disk_bytes=32 * MIB)
    await bench.said(session, "eat", "40")
    await bench.said(session, "fill", WORKSPACE, "keep")
    completed = await bench.run(session, "eat", str(60 + _slack(bench)))
    expect_outcome(completed.outcome, OutcomeKind.OUT_OF_MEMORY)
    if ended_as_a_whole(bench, completed.outcome):
        return
    await session.agent.ping()
    names = [f"fill-{number}" for number in range(1, 200)]
    await delete_files(session.agent, WORKSPACE, *names)
    await bench.said(session, "eat", "40")


@group.case("memory_limit")
async def no_swap(bench: Workbench) -> None:
    """Memory beyond the limit is not swapped: a program cannot have more than its limit."""
    most = LOW.memory_bytes // MIB + _slack(bench)
    completed = await bench.run(await bench.session(), "eat", str(most + 8))
    expect(not completed.outcome.success, "a program got more memory than its limit")


for _kind in _OBJECTS:
    _add_hoard(_kind)
