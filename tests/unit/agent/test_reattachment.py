"""Connections that break at any byte: nothing is lost, nothing comes twice."""

import asyncio
import random

import pytest

from assay.agent.client import Agent
from assay.agent.execution import Execution
from assay.domain.command import Command
from assay.domain.errors import AgentError, ConnectionLost, ExecutionRefused
from assay.domain.limits import ExecutionLimits
from assay.driver.port import ByteStream
from assay.drivers.fake import FakeDriver, Process

NO_LIMITS = ExecutionLimits(wall_seconds=60, cpu_seconds=None, output_bytes=None)


class Cut:
    """A stream that breaks after so many bytes in either direction."""

    def __init__(self, stream: ByteStream, reads: int, writes: int) -> None:
        self._stream = stream
        self._reads = reads
        self._writes = writes

    async def read(self, most: int) -> bytes:
        if self._reads <= 0:
            raise ConnectionLost("cut")
        data = await self._stream.read(min(most, self._reads))
        self._reads -= len(data)
        return data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.write(data[: self._writes])
        self._writes -= len(data)
        if self._writes < 0:
            raise ConnectionLost("cut")

    async def aclose(self) -> None:
        await self._stream.aclose()


OUTPUT = random.Random(3).randbytes(1_500_000)
INPUT = random.Random(4).randbytes(600_000)


async def speak(process: Process) -> int:
    chance = random.Random(5)
    position = 0
    while position < len(OUTPUT):
        size = chance.choice((1, 10, 3000, 40_000))
        await process.write(OUTPUT[position : position + size], 1 + chance.randint(0, 1))
        position += size
    return 7


async def check_input(process: Process) -> int:
    data = b""
    while piece := await process.read():
        data += piece
    return 0 if data == INPUT else 1


async def reconnect(driver: FakeDriver, spec, sandbox_id: str, chance, *, attempts: int) -> Agent:
    """Connect with a stream that will break; the last attempts get better ones."""
    while True:
        reads = chance.choice((60, 200, 5000, 90_000)) + attempts * 10_000
        writes = chance.choice((70, 100, 300, 90_000)) + attempts * 10_000
        stream = Cut(await driver.connect(sandbox_id), reads, writes)
        attempts += 1
        try:
            return await Agent.connect(stream, spec.secret)
        except AgentError:
            continue


@pytest.mark.parametrize("seed", range(20))
async def test_output_is_whole_however_often_the_connection_breaks(new_spec, seed: int) -> None:
    chance = random.Random(seed)
    driver = FakeDriver({"speak": speak})
    spec = new_spec()
    sandbox = await driver.create(spec)
    got, breaks, code = b"", 0, None
    number = 0
    while code is None:
        agent = await reconnect(driver, spec, sandbox.id, chance, attempts=breaks)
        try:
            if not number:
                execution = await agent.start(Command(argv=("speak",), limits=NO_LIMITS))
                if not await known_to(driver, sandbox.id):
                    raise ConnectionLost("EXEC itself was cut")
                number = execution.number
            else:
                execution = await agent.attach(number, offset=len(got))
            async for chunk in execution.output():
                assert chunk.offset == len(got)
                got += chunk.data
            code = (await execution.wait()).exit_code
        except ConnectionLost:
            breaks += 1
        finally:
            await agent.aclose()
    assert got == OUTPUT
    assert code == 7
    assert breaks > 3
    await driver.destroy(sandbox.id)


async def known_to(driver: FakeDriver, sandbox_id: str) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return bool(driver.sandbox(sandbox_id).executions)


@pytest.mark.parametrize("seed", range(20))
async def test_input_is_whole_however_often_the_connection_breaks(new_spec, seed: int) -> None:
    chance = random.Random(seed)
    driver = FakeDriver({"check": check_input})
    spec = new_spec()
    sandbox = await driver.create(spec)
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    number = (await agent.start(Command(argv=("check",), stdin=True, limits=NO_LIMITS))).number
    await agent.ping()
    await agent.aclose()
    code, breaks = None, 0
    while code is None:
        agent = await reconnect(driver, spec, sandbox.id, chance, attempts=breaks)
        try:
            execution = await agent.attach(number)
            await send_rest(execution)
            code = (await execution.wait()).exit_code
        except ConnectionLost:
            breaks += 1
        finally:
            await agent.aclose()
    assert code == 0
    assert breaks > 1
    await driver.destroy(sandbox.id)


async def send_rest(execution: Execution) -> None:
    await execution.write(INPUT[execution.input_offset :])
    await execution.end_input()


async def test_facts_are_given_again_until_they_are_taken(new_spec) -> None:
    driver, spec = FakeDriver(), new_spec()
    sandbox = await driver.create(spec)
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    await agent.start(Command(argv=("probe", "echo", "hi")))
    await asyncio.sleep(0.05)
    await agent.aclose()
    for left in (1, 1, 0):
        agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
        assert len(agent.known) == 1
        assert agent.known[0].ended
        execution = await agent.attach(1)
        assert [chunk.data async for chunk in execution.output()] == [b"hi\n"]
        if not left:
            assert (await execution.wait()).exit_code == 0
        await agent.aclose()
        await asyncio.sleep(0.01)
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    assert agent.known == ()
    await agent.aclose()
    await driver.destroy(sandbox.id)


async def test_what_was_acknowledged_cannot_be_had_again(new_spec) -> None:
    driver, spec = FakeDriver(), new_spec()
    sandbox = await driver.create(spec)
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    execution = await agent.start(Command(argv=("probe", "prompt", "hello", "30")))
    output = execution.output()
    await anext(output)
    asking = asyncio.ensure_future(anext(output))
    await agent.ping()
    asking.cancel()
    await asyncio.wait((asking,))
    await agent.aclose()
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    assert agent.known[0].output_start == 5
    execution = await agent.attach(1, offset=0)
    with pytest.raises(ExecutionRefused):
        await execution.wait()
    await agent.aclose()
    await driver.destroy(sandbox.id)


async def test_attaching_says_what_the_caller_has_got(new_spec) -> None:
    """Else an agent that is full of it would wait for ever."""
    driver, spec = FakeDriver(), new_spec()
    sandbox = await driver.create(spec)
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    command = Command(argv=("probe", "flood", "out", "2000000"), limits=NO_LIMITS)
    execution = await agent.start(command)
    for _ in range(500):
        if execution.output_offset == 2**20:
            break
        await asyncio.sleep(0.01)
    await agent.aclose()
    agent = await Agent.connect(await driver.connect(sandbox.id), spec.secret)
    execution = await agent.attach(1, offset=2**20)
    rest = [chunk.data async for chunk in execution.output()]
    assert len(b"".join(rest)) == 2_000_000 - 2**20
    await execution.wait()
    await agent.aclose()
    await driver.destroy(sandbox.id)
