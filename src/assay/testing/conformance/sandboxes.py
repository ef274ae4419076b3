"""The driver port itself: making, finding and destroying sandboxes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import replace
from pathlib import Path

from assay.agent.session import Session, open_session
from assay.domain.errors import DriverError, SandboxGone
from assay.domain.outcome import OutcomeKind
from assay.driver.port import RootFilesystem
from assay.testing.case import (
    Failure,
    Group,
    NotTestable,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.leaks import processes_of
from assay.testing.workbench import Workbench

group = Group("sandboxes")

_UNKNOWN = "never-made-0123456789"


@group.case()
async def probe_says_that_it_works(bench: Workbench) -> None:
    """The driver says of itself that it works on this machine, with its version."""
    health = await bench.driver.probe()
    expect(health.works, f"it does not: {'; '.join(one.summary for one in health.problems)}")
    expect(bool(health.version), "it says no version")
    expect(bool(bench.driver.name), "it has no name")


@group.case()
async def create_list_examine_destroy(bench: Workbench) -> None:
    """A sandbox is listed and running while it lives, and unknown afterwards."""
    driver = bench.driver
    sandbox = await driver.create(bench.spec())
    try:
        expect(sandbox.id in await driver.list(), "a new sandbox is not listed")
        state = await driver.examine(sandbox.id)
        expect(state is not None and state.running, f"the state of a new sandbox is {state}")
    finally:
        await driver.destroy(sandbox.id)
    expect(sandbox.id not in await driver.list(), "a destroyed sandbox is listed")
    expect_equal(await driver.examine(sandbox.id), None, "the state of a destroyed sandbox")


@group.case()
async def unknown_sandboxes(bench: Workbench) -> None:
    """Of an unknown id: examine says None, connect SandboxGone, destroy nothing."""
    driver = bench.driver
    expect_equal(await driver.examine(_UNKNOWN), None, "its state")
    await driver.destroy(_UNKNOWN)
    try:
        stream = await driver.connect(_UNKNOWN)
    except SandboxGone:
        return
    await stream.aclose()
    raise Failure("a stream was opened to a sandbox that never was")


@group.case()
async def destroying_twice(bench: Workbench) -> None:
    """Destroying is idempotent, one after the other and at the same time."""
    driver = bench.driver
    first, second = await driver.create(bench.spec()), await driver.create(bench.spec())
    await driver.destroy(first.id)
    await driver.destroy(first.id)
    await asyncio.gather(*(driver.destroy(second.id) for _ in range(5)))
    listed = await driver.list()
    expect(first.id not in listed and second.id not in listed, "a destroyed sandbox is listed")


@group.case(timeout=60)
async def twenty_at_once(bench: Workbench) -> None:
    """Twenty sandboxes are made at the same time, all different, all usable.

    A slow machine makes fewer: what each may take is a promise of the product, and not scaled.
    """
    count = min(20, max(6, int(60 / bench.slowness)))

    async def use(number: int) -> str:
        async with open_session(bench.driver, bench.spec()) as session:
            await bench.install(session)
            await bench.said(session, "write", "/tmp/who", str(number))
            await asyncio.sleep(0.2)
            expect_equal(
                await bench.said(session, "read", "/tmp/who"), str(number).encode(), "its file"
            )
            return session.sandbox.id

    ids = await asyncio.gather(*(use(number) for number in range(count)))
    expect_equal(len(set(ids)), count, "the number of different ids")


@group.case(timeout=60)
async def cancelled_create_leaves_nothing(bench: Workbench) -> None:
    """Whenever creating is cancelled, nothing of the sandbox stays."""
    driver = bench.driver
    before = set(await driver.list())
    for milliseconds in (0, 1, 2, 4, 8, 16, 32):
        task = asyncio.ensure_future(driver.create(bench.spec()))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            sandbox = await task  # it was faster
            await driver.destroy(sandbox.id)
    for _ in range(50):
        left = set(await driver.list()) - before
        if not left:
            return
        await asyncio.sleep(0.1)
    raise Failure(f"these sandboxes are left: {sorted(left)}")


@group.case()
async def root_that_is_not_there(bench: Workbench) -> None:
    """A root file system that cannot be used is an error of the driver's, with nothing left."""
    before = set(await bench.driver.list())
    root = RootFilesystem(digest="none", path=Path("/not/there/at/all"))
    try:
        sandbox = await bench.driver.create(replace(bench.spec(), root=root))
    except DriverError:
        expect_equal(set(await bench.driver.list()) - before, set(), "what is left")
        return
    await bench.driver.destroy(sandbox.id)
    raise Failure("a sandbox was made from nothing")


@group.case()
async def sandboxes_are_apart(bench: Workbench) -> None:
    """What one sandbox writes another does not see."""
    one, two = await bench.session(), await bench.session()
    await bench.said(one, "write", "/tmp/private", "text")
    completed = await bench.run(two, "read", "/tmp/private")
    expect_equal(completed.stderr[:6], b"ENOENT", "what the other one sees")


@group.case()
async def sandbox_ended_from_outside(bench: Workbench) -> None:
    """Whoever destroys a sandbox ends its programs, and their outcome says so: lost."""
    session = await bench.session()
    started = await bench.start(session, "sleep", "30")
    await asyncio.sleep(0.1)
    await bench.driver.destroy(session.sandbox.id)
    facts, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.LOST)
    expect_equal(facts.lost, "the sandbox was ended from outside", "the reason")


@group.case()
async def agent_killed(bench: Workbench) -> None:
    """When process 1 is killed, programs are lost, for that reason, and the sandbox is over."""
    session = await bench.session()
    pid = _process_one(session)
    started = await bench.start(session, "sleep", "30")
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    facts, outcome = await started.conclude()
    expect_outcome(outcome, OutcomeKind.LOST)
    expect_equal(facts.lost, "the agent died", "the reason")
    state = await bench.driver.examine(session.sandbox.id)
    expect(state is None or not state.running, "the sandbox is said to run without its agent")


@group.case()
async def agent_stopped(bench: Workbench) -> None:
    """An agent that does not answer is found out by the host's own clock; destroying works."""
    session = await bench.session()
    pid = _process_one(session)
    started = await bench.start(session, "prompt", "up", "30", wall=bench.patient(0.3))
    await started.read(b"up")
    # A kernel of its own may be another process than the one that answers for it.
    own = bench.capabilities.own_kernel
    for each in processes_of(session.sandbox) if own else [pid]:
        os.kill(each, signal.SIGSTOP)
    _, outcome = await started.conclude()
    expect_in_time(outcome.kind is not OutcomeKind.TIMED_OUT, "the agent was stopped too late")
    expect_outcome(outcome, OutcomeKind.LOST)
    expect(session.sandbox.id not in await bench.driver.list(), "the sandbox was not destroyed")


@group.case()
async def state_counts_what_programs_use(bench: Workbench) -> None:
    """What the host says of a sandbox's memory and CPU time follows its programs."""
    session = await bench.session()
    if (await bench.driver.examine(session.sandbox.id)) is None:
        raise Failure("a living sandbox has no state")
    started = await bench.start(session, "alloc", "24", "30")
    await started.read(b"touched 24\n")
    state = await bench.driver.examine(session.sandbox.id)
    if state is None or state.memory_bytes is None:
        raise NotTestable("the host cannot see this technology's memory")
    expect(state.memory_bytes >= 24 << 20, f"24 MiB in use are said to be {state.memory_bytes}")
    await started.execution.cancel()
    await started.conclude()


@group.case()
async def secret_is_shown_nowhere(bench: Workbench) -> None:
    """The secret of a sandbox is in no fact and in no text about it."""
    spec = bench.spec()
    session = await bench.session_of(spec)
    text = f"{spec!r} {spec.secret!s} {session.sandbox!r}"
    secret = spec.secret.reveal()
    expect(secret.hex() not in text and repr(secret) not in text, "the secret is shown")


def _process_one(session: Session) -> int:
    pid = session.sandbox.facts.get("process", "")
    if not pid.isdigit():
        raise NotTestable("the driver does not say which process of this host is the agent")
    return int(pid)
