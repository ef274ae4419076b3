"""The host goes away and comes back: nothing is lost, nothing doubled, limits hold."""

from __future__ import annotations

import asyncio
import random
import zlib
from dataclasses import dataclass, field

from assay.agent.client import Agent
from assay.agent.execution import Execution
from assay.agent.session import Session
from assay.domain.errors import AgentRefused, ConnectionLost, InvalidInput
from assay.domain.facts import KilledBy
from assay.domain.limits import MIB
from assay.domain.outcome import OutcomeKind, classify
from assay.driver.port import SandboxSpec, Secret
from assay.testing import pattern
from assay.testing.case import (
    Failure,
    Group,
    expect,
    expect_equal,
    expect_in_time,
    expect_outcome,
)
from assay.testing.conformance.limits import seconds
from assay.testing.workbench import Workbench

group = Group("reattachment", needs=("reattachment",))


@dataclass(kw_only=True, slots=True)
class _Host:
    """A server that loses its connection again and again; each new one has the next epoch."""

    bench: Workbench
    session: Session
    spec: SandboxSpec
    agent: Agent
    epoch: int = 1
    offset: int = 0
    followers: dict[str, pattern.Follower] = field(
        default_factory=lambda: {"stdout": pattern.Follower(), "stderr": pattern.Follower()}
    )

    async def reconnect(self) -> None:
        await self.agent.aclose()
        self.epoch += 1
        self.agent = await self.bench.connect_agent(
            self.session.sandbox.id, self.spec.secret, epoch=self.epoch
        )

    async def follow(self, execution: Execution, most: int) -> bool:
        """Read at least `most` bytes; return whether the output has ended."""
        until = self.offset + most
        async for chunk in execution.output():
            expect_equal(chunk.offset, self.offset, "an offset after attaching")
            self.offset += len(chunk.data)
            self.followers[chunk.stream].feed(chunk.data)
            if self.offset >= until:
                return False
        return True


async def _open(bench: Workbench, **options: int) -> _Host:
    spec = bench.spec(**options)
    session = await bench.session_of(spec)
    return _Host(bench=bench, session=session, spec=spec, agent=session.agent)


@group.case(timeout=60)
async def no_byte_lost_or_doubled(bench: Workbench) -> None:
    """The stream is cut at random moments of a flood: every byte arrives exactly once."""
    host, size, chance = await _open(bench), 4 * MIB, random.Random(7)
    command = bench.command("flood", "both", str(size))
    execution = await host.agent.start(command)
    number = execution.number
    while not await host.follow(execution, chance.randrange(1, size // 4)):
        await asyncio.sleep(chance.random() * 0.02)
        await host.reconnect()
        execution = await host.agent.attach(number, offset=host.offset)
    for name, follower in host.followers.items():
        expect(not follower.finish(size), f"{name}: {follower.wrong}")
    facts = await execution.wait()
    expect_outcome(classify(facts, command.limits), OutcomeKind.EXITED, code=0)
    expect(host.epoch > 4, "the stream was hardly cut: the case proves nothing")


@group.case()
async def cut_between_two_drops(bench: Workbench) -> None:
    """A slow trickle survives being cut after every few bytes."""
    host = await _open(bench)
    execution = await host.agent.start(bench.command("drip", "out", "40", "10"))
    number, data = execution.number, b""
    while True:
        ended = True
        async for chunk in execution.output():
            data += chunk.data
            ended = False
            if len(data) < 40 * 16:
                break
        if ended:
            break
        await host.reconnect()
        execution = await host.agent.attach(number, offset=len(data))
    expect_equal(data, pattern.records(40), "the output")


@group.case()
async def flood_waits_while_nobody_is_there(bench: Workbench) -> None:
    """Without a host a program's output is kept up to 1 MiB; then the program waits."""
    host = await _open(bench)
    execution = await host.agent.start(bench.command("flood", "out", str(8 * MIB)))
    await host.agent.aclose()
    await asyncio.sleep(0.5)
    await host.reconnect()
    known = next(one for one in host.agent.known if one.number == execution.number)
    kept = known.output_end - known.output_start
    expect(not known.ended, "the program ended although nobody took its output")
    expect(kept <= MIB, f"{kept} bytes are kept")
    execution = await host.agent.attach(execution.number, offset=0)
    await host.follow(execution, 2**62)
    follower = host.followers["stdout"]
    expect(not follower.finish(8 * MIB), follower.wrong)
    await execution.wait()
    expect_in_time(kept > 0, "nothing was written meanwhile")


@group.case()
async def limits_hold_meanwhile(bench: Workbench) -> None:
    """Wall, CPU and output limits end programs while no host is connected, on time."""
    host = await _open(bench)
    commands = [
        bench.command("sleep", "30", wall=0.4),
        bench.command("spin", "30", cpu=0.3),
        bench.command("flood", "out", str(MIB), output=100_000),
    ]
    executions = [await host.agent.start(command) for command in commands]
    await asyncio.sleep(0.05)
    await host.agent.aclose()
    await asyncio.sleep(bench.patient(1.2))
    await host.reconnect()
    late = [known.number for known in host.agent.known if not known.ended]
    facts = []
    for execution in executions:
        attached = await host.agent.attach(execution.number, offset=execution.output_offset)
        facts.append(await attached.wait())
    killed = [one.killed_by for one in facts]
    expect_equal(killed, [KilledBy.WALL, KilledBy.CPU, KilledBy.OUTPUT], "what ended them")
    expect_in_time(not late, f"the executions {late} went on beyond their limits")
    wall = seconds(facts[0].wall_ns, "wall time")
    expect(wall >= 0.4, f"a limit of 0.4 s ended the program after {wall:.3f} s")
    expect_in_time(wall < 0.8, f"a limit of 0.4 s ended the program after {wall:.3f} s")


@group.case()
async def facts_are_kept_until_released(bench: Workbench) -> None:
    """How a program ended while nobody was there is told to whoever comes, until it is released."""
    host = await _open(bench)
    execution = await host.agent.start(bench.command("exit", "42"))
    await asyncio.sleep(0.1)
    for _ in range(2):  # not even the one who looked has released it
        await host.reconnect()
        expect(any(one.number == execution.number for one in host.agent.known), "it is forgotten")
    attached = await host.agent.attach(execution.number)
    expect_equal((await attached.wait()).exit_code, 42, "the exit code")
    await host.agent.ping()
    await host.reconnect()
    expect_equal(host.agent.known, (), "what is known after the release")
    try:
        await host.agent.attach(execution.number)
    except InvalidInput:
        return
    raise Failure("a released execution could be attached to")


@group.case()
async def acknowledged_output_is_gone(bench: Workbench) -> None:
    """Output that was acknowledged is not kept; the rest is given from where the host asks."""
    host = await _open(bench)
    execution = await host.agent.start(bench.command("flood", "out", str(600_000)))
    await host.follow(execution, 400_000)
    await asyncio.sleep(0.1)
    await host.reconnect()
    known = next(one for one in host.agent.known if one.number == execution.number)
    expect(known.output_start <= host.offset, "output was dropped that the host had not got")
    execution = await host.agent.attach(execution.number, offset=host.offset)
    await host.follow(execution, 2**62)
    expect(not host.followers["stdout"].finish(600_000), host.followers["stdout"].wrong)


@group.case()
async def input_goes_on(bench: Workbench) -> None:
    """Standard input goes on after a cut from what the program's side has received."""
    host = await _open(bench)
    data = random.Random(3).randbytes(3 * MIB)
    execution = await host.agent.start(bench.command("count", stdin=True))
    for end in (1000, MIB, 2 * MIB):
        await execution.write(data[execution.input_offset : end])
        await host.reconnect()
        execution = await host.agent.attach(execution.number)
        expect(execution.input_offset <= end, "more input was received than was sent")
    await execution.write(data[execution.input_offset :])
    await execution.end_input()
    output = b"".join([chunk.data async for chunk in execution.output()])
    wanted = f"bytes={len(data)} crc32={zlib.crc32(data):08x}\n".encode()
    expect_equal(output, wanted, "what the program counted")
    await execution.wait()


@group.case()
async def highest_epoch_wins(bench: Workbench) -> None:
    """A host with a higher or the same epoch takes over, and the older connection is closed."""
    host = await _open(bench)
    for epoch in (5, 5, 9):
        old = host.agent
        host.agent = await bench.connect_agent(
            host.session.sandbox.id, host.spec.secret, epoch=epoch
        )
        await host.agent.ping()
        try:
            async with asyncio.timeout(bench.patient(5)):
                while True:
                    await old.ping()
        except ConnectionLost:
            continue
        except TimeoutError:
            raise Failure(f"epoch {epoch} did not end the older connection") from None


@group.case()
async def lower_epoch_is_refused(bench: Workbench) -> None:
    """A host of an older epoch is refused, and the newer one's connection goes on."""
    spec = bench.spec()
    session = await bench.session_of(spec, epoch=5)
    await _expect_refused(bench, session, spec.secret, "epoch", epoch=4)
    await bench.said(session, "echo", "hi")


@group.case()
async def wrong_secret_is_refused(bench: Workbench) -> None:
    """Without the sandbox's secret nobody is let in, whatever the epoch."""
    session = await bench.shared()
    await _expect_refused(bench, session, Secret(bytes(32)), "secret", epoch=2**40)
    await bench.said(session, "echo", "hi")


async def _expect_refused(
    bench: Workbench, session: Session, secret: Secret, code: str, *, epoch: int
) -> None:
    try:
        await bench.connect_agent(session.sandbox.id, secret, epoch=epoch)
    except AgentRefused as error:
        expect_equal(error.detail, code, "the reason of the refusal")
        return
    raise Failure("the connection was accepted")


@group.case()
async def programs_run_on_alone(bench: Workbench) -> None:
    """A program that nobody attaches to runs to its end."""
    host = await _open(bench)
    execution = await host.agent.start(bench.command("prompt", "done", "0.3"))
    await host.agent.aclose()
    await asyncio.sleep(0.6)
    await host.reconnect()
    known = next(one for one in host.agent.known if one.number == execution.number)
    attached = await host.agent.attach(execution.number)
    output = b"".join([chunk.data async for chunk in attached.output()])
    expect_equal(output, b"done", "the output")
    expect_equal((await attached.wait()).exit_code, 0, "the exit code")
    expect_in_time(known.ended, "the program had not ended while it was alone")


@group.case()
async def unclaimed_sandbox_ends(bench: Workbench) -> None:
    """A sandbox to which no host is connected ends by itself at its deadline, programs and all."""
    host = await _open(bench, unclaimed_seconds=1)
    await host.agent.start(bench.command("ignore", "30", wall=None))
    await asyncio.sleep(1.5)  # a connected host is a claim
    expect_equal(await host.agent.ping() < 5, True, "that the sandbox is still there")
    await host.agent.aclose()
    for _ in range(60):
        state = await bench.driver.examine(host.session.sandbox.id)
        if state is None or not state.running:
            return
        await asyncio.sleep(0.1)
    raise Failure("the sandbox is still there 6 s after its last host left")
