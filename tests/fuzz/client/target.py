"""A whole conversation with a hostile agent: the host's client uses all it has meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from assay.agent import protocol as wire
from assay.agent.client import Agent
from assay.agent.execution import Execution
from assay.agent.files import get_files, list_files
from assay.agent.messages import Ready
from assay.domain.command import Command, TerminalSize
from assay.domain.errors import AssayError
from assay.driver.port import Secret
from assay.drivers.fake import run_in_virtual_time
from assay.drivers.fake.stream import MemoryStream, stream_pair

READY = wire.frame(0, wire.READY, Ready(epoch=1).encode())
WITH_READY, WRITING, TERMINAL, LISTING, GETTING, CANCELLING, ATTACHING, ABANDONING = (
    1 << bit for bit in range(8)
)
ROUNDS_MOST = 2000
AT_ONCE = 250
"""Of byte 1: from here on nothing is cut."""


def fuzz(data: bytes) -> None:
    """Byte 0: what the host does; byte 1: how what the agent says, which is the rest, is cut.

    In virtual time, so that a silent agent is lost at once.
    """
    if len(data) < 2:
        return
    wishes, size = data[0], data[1] + 1
    said = (READY if wishes & WITH_READY else b"") + data[2:]
    unheard: list[dict[str, Any]] = []
    run_in_virtual_time(converse(wishes, cut(said, size), unheard))
    assert not unheard, f"errors that nobody heard of: {unheard}"


def cut(said: bytes, size: int) -> list[bytes]:
    """The first frame by itself, then pieces; or everything at once."""
    first = 12 + int.from_bytes(said[:4], "little") if size <= AT_ONCE else len(said)
    return [said[:first], *(said[i : i + size] for i in range(first, len(said), size))]


async def converse(wishes: int, pieces: list[bytes], unheard: list[dict[str, Any]]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    ours, theirs = stream_pair()
    speaking = asyncio.create_task(speak(theirs, pieces))
    try:
        agent = await Agent.connect(ours, Secret(bytes(32)))
    except AssayError:
        await speaking
        return
    try:
        await use(agent, wishes)
    finally:
        await agent.aclose()
        await speaking
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"


async def speak(stream: MemoryStream, pieces: list[bytes]) -> None:
    """Say it all, and read what comes as an agent would."""
    try:
        for number, piece in enumerate(pieces):
            await stream.write(piece)
            # What follows the greeting is about executions, which the host must start before.
            await asyncio.sleep(0.01 if number == 0 else 0)
        for _ in range(ROUNDS_MOST):
            if not await stream.read(1 << 20):
                return
    except AssayError:
        pass


async def use(agent: Agent, wishes: int) -> None:
    size = TerminalSize(rows=2, columns=2) if wishes & TERMINAL else None
    command = Command(argv=("x",), stdin=True, terminal=size)
    work: list[Coroutine[Any, Any, object]] = [agent.ping()]
    try:
        work += [operate(await agent.start(command), wishes)]
        work += [read(await agent.start(Command(argv=("y",))))]
        if wishes & ATTACHING:
            work += [attach(agent, known.number, known.output_start) for known in agent.known[:3]]
    except AssayError:
        pass
    work += [list_files(agent, "/", most=40, most_bytes=2000)] if wishes & LISTING else []
    work += [get(agent)] if wishes & GETTING else []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, AssayError):
            raise result


async def read(execution: Execution, offset: int = 0) -> None:
    async for chunk in execution.output():
        assert chunk.data
        assert chunk.offset == offset, "output that is not where it belongs"
        offset += len(chunk.data)
    await execution.wait()


async def operate(execution: Execution, wishes: int) -> None:
    if wishes & WRITING:
        await execution.write(b"x" * 100_000)
        await execution.end_input()
    if wishes & TERMINAL:
        await execution.resize(TerminalSize(rows=3, columns=3))
        await execution.signal(2)
    if wishes & CANCELLING:
        await execution.cancel()
    if wishes & ABANDONING:
        execution.abandon(kill=bool(wishes & CANCELLING))
    else:
        await read(execution)


async def attach(agent: Agent, number: int, offset: int) -> None:
    await read(await agent.attach(number, offset=offset), offset)


async def get(agent: Agent) -> None:
    async for received in get_files(agent, "/", most=5000, most_entries=40, most_bytes=2000):
        async for piece in received.content():
            assert piece
