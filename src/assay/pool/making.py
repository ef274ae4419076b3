"""One sandbox: made, connected to, written down. Or found again, of an earlier server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from assay.agent.client import Agent
from assay.agent.session import Session, connect
from assay.driver.port import Driver, Sandbox, Secret
from assay.environments.served import Blueprint
from assay.pool.endings import Endings
from assay.pool.rows import Rows
from assay.pool.shelf import Idle
from assay.storage.records import SandboxRecord


class Maker:
    """Makes sandboxes; what it could not finish is destroyed."""

    def __init__(
        self,
        driver: Driver,
        rows: Rows,
        endings: Endings,
        *,
        epochs: Callable[[], int],
        alone: bool = True,
    ) -> None:
        """Of several servers (not `alone`), the others must know at once what to see to when this
        one's machine is gone, with its notes of what it has made."""
        self._alone = alone
        self._driver = driver
        self._rows = rows
        self._endings = endings
        self._epochs = epochs

    async def make(
        self, blueprint: Blueprint, on_made: Callable[[], None], *, wanted: Callable[[], bool]
    ) -> Idle:
        """Make one that would still be known after `kill -9`. Raises AssayError.

        After `on_made` there is only waiting, for the agent and for the disk: for the next write,
        where a server is alone and it is not `wanted` at once, which costs half as much.
        """
        secret = Secret(secrets.token_bytes(32))
        sandbox = await self._driver.create(blueprint.spec(secret))
        on_made()
        record = SandboxRecord(
            id=sandbox.id,
            driver=self._driver.name,
            environment=blueprint.environment.name,
            version=blueprint.version,
            secret=secret,
            created_at=self._rows.clock(),
        )
        later = self._alone and not wanted()
        writing = asyncio.ensure_future(self._rows.add_sandbox(record, later=later))
        agent: Agent | None = None
        try:
            agent = await self._connect(sandbox.id, secret, blueprint)
            await writing
        except BaseException:
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._endings.begin(sandbox.id, agent, added=writing)
            raise
        return self._idle(sandbox, record, agent, blueprint)

    async def find(self, record: SandboxRecord, blueprint: Blueprint) -> Idle | None:
        """Connect to one of an earlier server; None when something has run in it.

        Raises AssayError when its agent doesn't answer.
        """
        agent = await self._connect(record.id, record.secret, blueprint)
        if agent.highest or agent.known:
            await agent.aclose()
            return None
        if agent.lost is None and blueprint.interpreter() is None:
            agent.keep_interpreter(None)  # an earlier server may have wanted one
        return self._idle(Sandbox(id=record.id), record, agent, blueprint)

    async def _connect(self, sandbox_id: str, secret: Secret, blueprint: Blueprint) -> Agent:
        root, epoch = blueprint.root, self._epochs()
        return await connect(
            self._driver, sandbox_id, secret, user=root.user, group=root.group, epoch=epoch
        )

    def _idle(
        self, sandbox: Sandbox, record: SandboxRecord, agent: Agent, blueprint: Blueprint
    ) -> Idle:
        now = asyncio.get_running_loop().time()
        return Idle(
            session=Session(self._driver, sandbox, agent),
            record=record,
            blueprint=blueprint,
            created_at=now,
            checked_at=now,
        )
