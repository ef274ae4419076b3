"""A server's runners over real sandboxes; as a script, one that is there to be killed."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assay.agent.native import program
from assay.agent.session import Session, connect
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.driver.port import Sandbox, Secret
from assay.drivers.lean import LeanDriver
from assay.environments import Blueprint, ServedEnvironment
from assay.images import host_image
from assay.runners import Output, Runners
from assay.storage.database import Storage
from assay.storage.records import SandboxRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST = ExecutionLimits(wall_seconds=60, cpu_seconds=60, output_bytes=None)
NO_CEILING = ExecutionLimits(
    wall_seconds=None, cpu_seconds=None, output_bytes=None, open_files=None
)
ENVIRONMENT = ServedEnvironment(
    name="bash", image="host", execution=MOST, ceiling=NO_CEILING, exposed_ports=(8000,),
    sandbox=SandboxLimits(memory_bytes=300 * MIB, disk_bytes=128 * MIB),
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    session: Session
    blueprint: Blueprint
    record: SandboxRecord


class Hosting:
    """Runners, and a stock that makes each sandbox when it is asked for."""

    def __init__(self, state: Path, storage: Storage, count: int) -> None:
        self.driver = LeanDriver(program=program("lean"), state=state, agent=program("agent"))
        self.storage = storage
        self.state = state
        self.events: list[object] = []
        self._epoch = count << 24
        self.runners = Runners(
            self, storage, self.driver, epochs=self.epoch, resolve=self.resolve,
            on_event=self.events.append,
        )  # fmt: skip

    def epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    async def resolve(self, _: str) -> Blueprint:
        return Blueprint(environment=ENVIRONMENT, root=host_image(self.state))

    async def claim(self, name: str, *, owner: str = "", deadline_seconds: float = 10) -> Claim:
        blueprint = await self.resolve(name)
        spec = blueprint.spec(Secret(secrets.token_bytes(32)))
        sandbox = await self.driver.create(spec)
        record = SandboxRecord(
            id=sandbox.id, driver="lean", environment=name, version=blueprint.version,
            secret=spec.secret, created_at=self.storage.clock(), taken=True,
        )  # fmt: skip
        await self.storage.add_sandbox(record)
        agent = await connect(self.driver, sandbox.id, spec.secret, epoch=self.epoch())
        session = Session(self.driver, Sandbox(id=sandbox.id), agent)
        return Claim(session=session, blueprint=blueprint, record=record)

    async def discard(self, claimed: Session | str) -> None:
        if isinstance(claimed, Session):
            await claimed.aclose()
            claimed = claimed.sandbox.id
        await self.driver.destroy(claimed)
        await self.storage.remove_sandbox(claimed)

    async def adopt_all(self) -> None:
        records = {record.id: record for record in await self.storage.sandboxes()}
        for lease in await self.storage.leases():
            rows = await self.storage.executions(lease.runner_id)
            await self.runners.adopt(lease, records[lease.sandbox_id], rows)
        self.runners.start()


@asynccontextmanager
async def hosting(state: Path, count: int = 1) -> AsyncIterator[Hosting]:
    """One server's life on a state folder."""
    storage = await Storage.open(f"sqlite:///{state}/assay.db")
    server = Hosting(state, storage, count)
    try:
        yield server
    finally:
        await server.runners.aclose()
        await storage.aclose()
        await server.driver.aclose()


async def _follow(state: Path, count: int, received: Path) -> None:
    """Follow the one execution there is, and write what comes into a file, the client's memory.

    The first server starts it; each byte is acknowledged only once it is in the file.
    """
    async with hosting(state, count) as server:
        with received.open("ab", buffering=0) as file:
            if count == 1:
                runner = await server.runners.create("bash", owner="t1")
                command = runner.command(("/usr/bin/seq", "400000"))
                execution_id = await runner.prepare(command)
            else:
                await server.adopt_all()
                (runner,) = server.runners.all(owner="t1")
                (execution_id,) = [listed.execution_id for listed in runner.executions()]
            offset = file.seek(0, 2)
            attachment = await runner.follow(execution_id, offset=offset if count > 1 else None)
            print("following", flush=True)
            async for event in attachment.events():
                if isinstance(event, Output):
                    file.write(event.data)
                    attachment.acknowledge(event.offset + len(event.data))
                    await asyncio.sleep(0.03)
        await asyncio.Event().wait()  # it is killed, however late


if __name__ == "__main__":
    asyncio.run(_follow(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
