"""Since Linux 6.18 killed processes pay back time used inside the kernel before they may end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from assay.agent.files import write_file
from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.limits import ExecutionLimits
from assay.driver.port import SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.testing.workbench import LOW


async def test_a_sandbox_whose_programs_owe_processor_time_is_gone_at_once(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, replace(spec, limits=LOW)) as session:
        probe = program("probe").read_bytes()
        await write_file(session.agent, "/workspace", "probe", probe, mode=0o755)
        limits = ExecutionLimits(wall_seconds=20)
        hoard = Command(argv=("/workspace/probe", "hoard", "memfd"), limits=limits)
        await session.agent.start(hoard)
        await asyncio.sleep(2.5)
        began = time.monotonic()
        await driver.destroy(session.sandbox.id)
        assert time.monotonic() - began < 1.0
