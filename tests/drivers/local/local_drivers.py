"""The local drivers, by what they use: a runtime, LXC, or None: `lean`, which uses none."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Literal

import pytest

from assay.agent.native import program
from assay.driver.port import SandboxSpec
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.lxc import LxcDriver
from assay.drivers.oci import OciDriver, Runtime

FIRST_USER = 1_000_000_000

LXC: Final = "lxc"
Technology = Runtime | Literal["lxc"] | None
Open = Callable[..., AbstractAsyncContextManager[LocalDriver]]


def named(technology: Technology) -> str:
    return technology.name if isinstance(technology, Runtime) else technology or "lean"


def program_of(technology: Technology) -> tuple[str, str]:
    """What has to be on PATH, if anything, and the command that installs it."""
    if isinstance(technology, Runtime):
        return technology.program, technology.remedy
    return ("lxc-start", "apt-get install lxc") if technology == LXC else ("", "")


def local_driver(
    runtime: Technology, state: Path, *, parallel: int = 4, stock: int = 0
) -> LocalDriver:
    agent = program("agent")
    if runtime == LXC:
        return LxcDriver(
            lean=program("lean"), state=state, agent=agent, first_user=FIRST_USER,
            parallel=parallel,
        )  # fmt: skip
    if isinstance(runtime, Runtime):
        return OciDriver(
            runtime=runtime, state=state, agent=agent, first_user=FIRST_USER, parallel=parallel
        )
    return LeanDriver(
        program=program("lean"), state=state, agent=agent, first_user=FIRST_USER,
        stock=stock, parallel=parallel,
    )  # fmt: skip


def helper_of(driver: LocalDriver) -> int:
    assert isinstance(driver, LeanDriver)
    assert driver.helper is not None
    return driver.helper


async def stocked(driver: LocalDriver, count: int) -> None:
    assert isinstance(driver, LeanDriver)
    async with asyncio.timeout(30):
        while driver.prepared < count:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.01)


async def give_up_a_creation(driver: LocalDriver, spec: SandboxSpec) -> None:
    """Ask for a sandbox while the helper stands still, and be cancelled before it goes on."""
    os.kill(helper_of(driver), signal.SIGSTOP)
    try:
        making = asyncio.create_task(driver.create(spec))
        await asyncio.sleep(0.2)
        making.cancel()
        await asyncio.sleep(0.05)
    finally:
        os.kill(helper_of(driver), signal.SIGCONT)
    with pytest.raises(asyncio.CancelledError):
        await making
