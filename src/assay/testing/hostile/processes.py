"""Programs that multiply, hide, refuse to die, or attack the agent.

How these cases fail when a protection is off: without a limit of processes the count on the host
passes it and the neighbour is disturbed; with clean-up by walking /proc once, `hop` and the bombs
survive; with clean-up by process group or session, `daemon` does; a walk that believes names,
owners or states in /proc misses `named`, `undumpable` or `leader-dead`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from assay.agent.session import OVERDUE, TOO_MANY_PROCESSES, Session
from assay.domain.command import WORKSPACE
from assay.domain.errors import ConnectionLost, ExecutionRefused
from assay.domain.outcome import Outcome, OutcomeKind
from assay.driver.port import SandboxState
from assay.testing.case import (
    Failure,
    Group,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.conformance.ending import BEAT, expect_no_heartbeat
from assay.testing.leaks import programs_in
from assay.testing.verdicts import expect_refused, read_verdicts
from assay.testing.workbench import LOW, Workbench

group = Group("processes", hostile=True)

_BOMBS = {
    "fork": "a classic fork bomb",
    "thread": "a bomb of threads that fork",
    "vfork": "a bomb of vforks",
    "clone": "a bomb of clone calls with random flags",
    "exec": "a bomb whose every generation executes the program anew",
    "orphan": "a bomb whose parents die at once",
}
_GHOSTS = {
    "subreaper": "adopted by another descendant",
    "clone-parent": "a child of the agent itself, by CLONE_PARENT",
    "leader-dead": "whose first thread has exited",
    "named": "whose name imitates the end of its line in /proc",
    "undumpable": "whose files in /proc belong to root",
    "vfork": "whose parent waits in the kernel for it",
    "thread": "in a second thread",
    "deep": "thirty generations down",
    "respawn": "that a watcher starts again",
    "stopped-deep": "beneath a stopped parent",
}
_SECONDS_LATE = 5.0
"""After which what has not ended is not late, but lives on."""


async def expect_usable(bench: Workbench, session: Session) -> None:
    """After an attack the sandbox must serve the same learner's next program as before."""
    expect_equal(await bench.said(session, "echo", "hi"), b"hi\n", "the next program's output")
    await bench.said(session, "many", "20", "1")


async def expect_only_agent(session: Session, seconds: float = 0.3) -> None:
    """Raise Failure unless none of a learner's processes is to be seen; Doubtful when one was after
    this time.

    100 ms are promised; the rest is for looking through /proc on a busy machine, and looking into
    a sandbox with its own kernel takes a program in it.
    """
    seconds *= 5 if session.driver.capabilities.own_kernel else 1
    began, seen = time.monotonic(), 0.0
    while left := await programs_in(session):
        seen = time.monotonic() - began
        expect(seen < seconds + _SECONDS_LATE, f"{left} processes live on in the sandbox")
        await asyncio.sleep(0.01)
    expect_in_time(seen < seconds, f"processes lived on in the sandbox for {seen:.1f} s")


def ended_as_a_whole(bench: Workbench, outcome: Outcome) -> bool:
    """Whether an attack came to an end that is right, and took its sandbox along."""
    return not bench.capabilities.oom_spares_sandbox and outcome.kind is OutcomeKind.OUT_OF_MEMORY


def _bombed_as_a_whole(bench: Workbench, outcome: Outcome) -> bool:
    lost = outcome.kind is OutcomeKind.LOST and outcome.reason in (TOO_MANY_PROCESSES, OVERDUE)
    return ended_as_a_whole(bench, outcome) or (lost and not bench.capabilities.bombs_spare_sandbox)


def _expect_end_of_bomb(outcome: Outcome, kind: OutcomeKind, **details: str) -> None:
    """This one; or by its memory, where it forks faster than the kernel frees the dead."""
    if outcome.kind is not OutcomeKind.OUT_OF_MEMORY:
        expect_outcome(outcome, kind, **details)


def _expect_within_limit(count: int, *, executions: int) -> None:
    """The kernel does not count a first process that is moved into a full group.

    And one process may end, and another start, between two looks at /proc.
    """
    most = LOW.processes + executions + 2
    expect(count <= most, f"the host saw {count} processes, {LOW.processes} are allowed")


async def _expect_usable_or_over(bench: Workbench, session: Session) -> None:
    """Where bombs may end a whole sandbox, a bomb's last processes may still have done that."""
    try:
        await expect_only_agent(session)
        await expect_usable(bench, session)
    except ConnectionLost:
        state = await _state_at_the_end(bench, session)
        oom = bool(state.oom_kills) and not bench.capabilities.oom_spares_sandbox
        many = bool(state.processes_refused) and not bench.capabilities.bombs_spare_sandbox
        expect(not state.running and (oom or many), f"the agent was lost: {state}")


async def _state_at_the_end(bench: Workbench, session: Session) -> SandboxState:
    """A connection closes before the technology says that the sandbox has ended."""
    deadline = time.monotonic() + bench.patient(10.0)
    while True:
        state = await bench.driver.examine(session.sandbox.id)
        if state is None or not state.running or time.monotonic() > deadline:
            return state or SandboxState(running=True)
        await asyncio.sleep(0.02)


def _add_bomb(kind: str, text: str) -> None:
    async def run(bench: Workbench) -> None:
        session = await bench.session()
        most = 0
        started = await bench.start(session, "bomb", kind, wall=1.0, cpu=None)
        ending = bench.background(started.conclude())
        while not ending.done():
            with contextlib.suppress(ConnectionLost):  # its outcome says whether that is right
                most = max(most, await programs_in(session))
            await asyncio.sleep(0.1)
        _, outcome = await ending
        _expect_within_limit(most, executions=1)
        if _bombed_as_a_whole(bench, outcome):
            return
        if kind != "orphan":  # there the first process dies like all others
            _expect_end_of_bomb(outcome, OutcomeKind.TIMED_OUT, clock="wall")
        await _expect_usable_or_over(bench, session)

    group.add(f"bomb-{kind}", f"{text.capitalize()} stops at the limit and ends.", run,
              "process_limit")  # fmt: skip


def _add_bomb_left_behind(kind: str, text: str) -> None:
    async def run(bench: Workbench) -> None:
        session = await bench.session()
        completed = await bench.run(session, "bomb", kind, "leave", wall=5.0)
        if _bombed_as_a_whole(bench, completed.outcome):
            return
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
        await _expect_usable_or_over(bench, session)

    group.add(f"bomb-{kind}-left-behind", f"{text.capitalize()} does not outlive its starter.",
              run, "process_limit")  # fmt: skip


def _add_ghost(kind: str, text: str) -> None:
    async def run(bench: Workbench) -> None:
        session = await bench.session()
        completed = await bench.run(session, "ghost", kind, BEAT, wall=5.0)
        expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
        await expect_no_heartbeat(bench, session)
        await expect_only_agent(session)
        await expect_usable(bench, session)

    group.add(f"ghost-{kind}", f"A descendant {text} is gone 100 ms after the program.", run)


for _kind, _text in _BOMBS.items():
    _add_bomb(_kind, _text)
for _kind in ("fork", "exec", "orphan"):
    _add_bomb_left_behind(_kind, _BOMBS[_kind])
for _kind, _text in _GHOSTS.items():
    _add_ghost(_kind, _text)


@group.case()
async def ghost_stopped(bench: Workbench) -> None:
    """A stopped descendant is gone after the program, although it runs no instruction."""
    session = await bench.session()
    await bench.said(session, "ghost", "stopped", BEAT)
    await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case("privilege_separation")
async def ghost_of_a_privileged_program(bench: Workbench) -> None:
    """Not even a privileged program's descendant that left its control groups survives."""
    session = await bench.session()
    completed = await bench.run(session, "ghost", "moved", BEAT, privileged=True, wall=5.0)
    expect_outcome(completed.outcome, OutcomeKind.EXITED, code=0)
    await expect_no_heartbeat(bench, session)
    await expect_only_agent(session)


@group.case()
async def daemon_beside_another_program(bench: Workbench) -> None:
    """A daemon dies with its program even while another program of the learner goes on."""
    session = await bench.session()
    other = await bench.start(session, "cat", stdin=True)
    await bench.said(session, "leave", "daemon", BEAT)
    await expect_no_heartbeat(bench, session)
    for kind in ("named", "clone-parent", "subreaper"):
        file = f"{WORKSPACE}/{kind}"
        await bench.said(session, "ghost", kind, file)
        await expect_no_heartbeat(bench, session, file)
    await other.execution.write(b"alive\n")
    await other.read(b"alive\n")
    await other.execution.cancel()
    await other.conclude()


@group.case()
async def processes_that_never_stay(bench: Workbench) -> None:
    """Chains of processes that fork and exit without end do not escape the clean-up."""
    session = await bench.session()
    for _ in range(3):
        await bench.said(session, "hop", "16")
        await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case()
async def cancelled_bomb(bench: Workbench) -> None:
    """A bomb can be cancelled while it explodes."""
    session = await bench.session()
    started = await bench.start(session, "bomb", "fork", wall=20.0, cpu=None)
    await asyncio.sleep(0.5)
    await started.execution.cancel()
    async with asyncio.timeout(bench.patient(3)):
        _, outcome = await started.conclude()
    _expect_end_of_bomb(outcome, OutcomeKind.CANCELLED)
    await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case()
async def zombies(bench: Workbench) -> None:
    """Children that nobody waits for are gone with their program."""
    session = await bench.session()
    for _ in range(4):
        await bench.said(session, "zombies", "30")
        await expect_only_agent(session)
    await expect_usable(bench, session)


@group.case()
async def orphans_are_collected(bench: Workbench) -> None:
    """Process 1 collects orphans while their program runs, so that they do not fill the table."""
    output = await bench.said(await bench.session(), "orphans", "400")
    expect_equal(output, b"orphans=400\n", "the output")


@group.case()
async def stopping_oneself(bench: Workbench) -> None:
    """A program that stops itself ends at its wall limit."""
    session = await bench.session()
    completed = await bench.run(session, "stop", wall=0.5)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await expect_only_agent(session)


@group.case()
async def dead_first_thread(bench: Workbench) -> None:
    """A program whose first thread has exited looks like a zombie, and ends at its wall limit."""
    session = await bench.session()
    completed = await bench.run(session, "leader-dead", wall=0.5)
    expect_outcome(completed.outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await expect_only_agent(session)


@group.case()
async def killing_everybody(bench: Workbench) -> None:
    """A learner cannot send any signal to process 1, nor change its limits; kill(-1) misses it."""
    session = await bench.session()
    completed = await bench.run(session, "kill-all")
    if bench.capabilities.privilege_separation:
        expect_refused(completed.stdout, own_kernel=bench.capabilities.own_kernel)
    await session.agent.ping()
    await expect_usable(bench, session)


@group.case("privilege_separation", "direct_stream")
async def killing_everybody_as_root(bench: Workbench) -> None:
    """Not even the sandbox's root can end process 1."""
    session = await bench.session()
    completed = await bench.run(session, "kill-all", privileged=True)
    read_verdicts(completed.stdout)
    await session.agent.ping()
    await expect_usable(bench, session)


@group.case("privilege_separation")
async def killing_a_privileged_program(bench: Workbench) -> None:
    """A learner's kill(-1) does not reach privileged programs, such as graders."""
    session = await bench.session()
    grader = await bench.start(session, "cat", stdin=True, privileged=True)
    await bench.run(session, "kill-all")
    await grader.execution.write(b"alive\n")
    await grader.read(b"alive\n")
    await grader.execution.cancel()
    await grader.conclude()


@group.case("privilege_separation")
async def gaining_rights(bench: Workbench) -> None:
    """No set-user-id file, id, capability, limit or scheduling class gives more rights."""
    session = await bench.session()
    expect_refused(
        await bench.said(session, "privileges"), own_kernel=bench.capabilities.own_kernel
    )


@group.case("process_limit")
async def many_executions_share_the_limit(bench: Workbench) -> None:
    """Bombs in several executions at once share the sandbox's limit, and all of them end."""
    session = await bench.session()
    bombs = []
    # There may be no process left for the next where bombs may take all.
    full = () if bench.capabilities.bombs_spare_sandbox else (ExecutionRefused,)
    with contextlib.suppress(*full):
        for _ in range(4):
            bombs.append(await bench.start(session, "bomb", "fork", wall=1.0, cpu=None))
    await asyncio.sleep(0.5)
    with contextlib.suppress(ConnectionLost, *full):  # their outcomes say whether that is right
        _expect_within_limit(await programs_in(session), executions=4)
    outcomes = []
    for bomb in bombs:
        with contextlib.suppress(*full):  # known at the end only, if the answer came late
            outcomes.append((await bomb.conclude())[1])
    expect(len(outcomes) > 0, "not even the first was started")
    if any(_bombed_as_a_whole(bench, outcome) for outcome in outcomes):
        return
    for outcome in outcomes:
        _expect_end_of_bomb(outcome, OutcomeKind.TIMED_OUT, clock="wall")
    await _expect_usable_or_over(bench, session)


@group.case()
async def programs_beside_a_killer(bench: Workbench) -> None:
    """A learner's program that kills all others without end costs an outcome, never a hang."""
    session = await bench.session()
    for number in (9, 19):
        killer = await bench.start(session, "kill-loop", str(number), wall=20.0, cpu=None)
        await killer.read(b"killing\n")
        for _ in range(10):
            async with asyncio.timeout(bench.patient(4)):
                completed = await bench.run(session, "sleep", "0.01", wall=0.5)
            kinds = (OutcomeKind.EXITED, OutcomeKind.SIGNALED, OutcomeKind.TIMED_OUT)
            expect(completed.outcome.kind in kinds, f"the outcome is {completed.outcome}")
            await session.agent.ping()
        if bench.capabilities.privilege_separation:
            await bench.said(session, "echo", "hi", privileged=True)
        await killer.execution.cancel()
        await killer.conclude()
        await expect_usable(bench, session)


@group.case("process_limit")
async def program_beside_a_bomb(bench: Workbench) -> None:
    """Where a bomb leaves no process free, the next program is refused or runs; no hang."""
    session = await bench.session()
    bomb = await bench.start(session, "bomb", "fork", wall=3.0, cpu=None)
    await asyncio.sleep(0.5)
    try:
        async with asyncio.timeout(bench.patient(3)):
            await bench.run(session, "echo", "hi")
    except TimeoutError:
        raise Failure("a program beside a bomb neither ran nor was refused") from None
    except ExecutionRefused:
        pass
    except ConnectionLost as error:
        _, outcome = await bomb.conclude()
        expect(_bombed_as_a_whole(bench, outcome), f"it raised {error!r}; the bomb is {outcome}")
        return
    with contextlib.suppress(ConnectionLost):
        await bomb.execution.cancel()
    _, outcome = await bomb.conclude()
    if not _bombed_as_a_whole(bench, outcome):
        await _expect_usable_or_over(bench, session)
