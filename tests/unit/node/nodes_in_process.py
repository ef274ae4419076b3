"""What tests of nodes in this process share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from assay.bootstrap.node import RunningNode
from assay.driver.port import Sandbox, SandboxSpec
from assay.drivers.fake import FakeDriver, FakeMachine
from assay.drivers.nodes import NodesDriver

HOST = "127.0.0.1"
OpenNode = Callable[..., AbstractAsyncContextManager[RunningNode]]
OpenDriver = Callable[..., AbstractAsyncContextManager[NodesDriver]]


async def until(holds: Callable[[], Awaitable[bool] | bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


class Gated(FakeDriver):
    """Makes a sandbox when it is let."""

    def __init__(self, machine: FakeMachine) -> None:
        super().__init__(machine=machine)
        self.asked = asyncio.Event()
        self.let = asyncio.Event()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        self.asked.set()
        await self.let.wait()
        return await super().create(spec)


def of_numbers(first: int) -> FakeDriver:
    """(Of real drivers no two ids are the same.)"""
    machine = FakeMachine()
    machine.made = first
    return FakeDriver(machine=machine)
