"""All runners of a server: who gets one, who may use it, and when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from assay.agent.session import Session
from assay.domain.errors import AssayError, Draining, InvalidInput, RunnerGone
from assay.domain.lease import Lease
from assay.driver.port import Driver, RootFilesystem, Secret
from assay.environments.served import Blueprint
from assay.runners.backing import Background, Backing, LeaseStorage, ignore_result, keep_interpreter
from assay.runners.events import RunFinished, RunnerCreated, RunnerEnded, RunnersEvent
from assay.runners.link import Link
from assay.runners.run_once import planned, run_in
from assay.runners.runner import Runner
from assay.runners.values import (
    ASSAY_V1,
    Claimed,
    EndReason,
    RunRequest,
    RunResult,
    State,
    Stock,
)
from assay.storage.records import ExecutionRecord, SandboxRecord

TOUCH_SECONDS: Final = 1.0
"""Times of activity are written together, so often."""
CONNECTING_MOST: Final = 16
"""Sandboxes of an earlier server that are connected to at one time."""
SETTLE_SECONDS: Final = 10.0


class Runners:
    """Leases of sandboxes, by the ids that their users have.

    A sandbox comes from the stock, is one user's alone, and is destroyed at the end of its lease.
    Leases are in the database, and outlive this object: `adopt` takes them up again.
    """

    def __init__(
        self,
        stock: Stock,
        storage: LeaseStorage,
        driver: Driver,
        *,
        epochs: Callable[[], int],
        resolve: Callable[[str], Awaitable[Blueprint]],
        port_host: str = "127.0.0.1",
        retain_seconds: float = 60.0,
        detached_seconds: float = 300.0,
        on_event: Callable[[RunnersEvent], None] | None = None,
    ) -> None:
        """`resolve` finds what an environment's name stands for; see `Backing` for the others."""
        self._backing = Backing(
            driver=driver,
            stock=stock,
            storage=storage,
            epochs=epochs,
            port_host=port_host,
            retain_seconds=retain_seconds,
            detached_seconds=detached_seconds,
            background=Background(),
            on_event=on_event,
        )
        self._resolve = resolve
        self._runners: dict[str, Runner] = {}
        self._touched: dict[str, Runner] = {}
        self._touching: asyncio.TimerHandle | None = None
        self._adopted: list[Runner] = []
        self._draining = False
        self._once = 0

    # --- leases -------------------------------------------------------------------------------

    async def create(
        self,
        environment: str,
        *,
        owner: str = "",
        inactivity_seconds: float | None = None,
        most_seconds: float | None = None,
        deadline_seconds: float = 10.0,
    ) -> Runner:
        """Lease a sandbox of an environment to `owner`; durable before it returns.

        Raises PoolExhausted, UnknownEnvironment, Draining or StorageError.
        """
        _require_times(inactivity_seconds, most_seconds)
        started = time.perf_counter()
        claimed = await self._claim(environment, owner, deadline_seconds)
        try:
            now = self._backing.storage.clock()
            lease = Lease(
                runner_id=f"r-{secrets.token_hex(16)}",
                sandbox_id=claimed.record.id,
                environment=environment,
                version=claimed.record.version,
                owner=owner,
                generation=1,
                created_at=now,
                inactivity_seconds=inactivity_seconds,
                expires_at=None if most_seconds is None else now + most_seconds,
                active_at=now,
            )
            runner = await self._lease(lease, claimed)
        except BaseException:
            self._backing.background.spawn(self._backing.stock.discard(claimed.session))
            raise
        self._backing.tell(
            RunnerCreated(
                runner_id=runner.id,
                environment=environment,
                owner=owner,
                seconds=time.perf_counter() - started,
            )
        )
        return runner

    async def _claim(self, environment: str, owner: str, deadline_seconds: float) -> Claimed:
        if self._draining:
            raise Draining("the server is about to stop")
        return await self._backing.stock.claim(
            environment, owner=owner, deadline_seconds=deadline_seconds
        )

    async def _lease(self, lease: Lease, claimed: Claimed) -> Runner:
        runner = self._runner(lease, claimed.blueprint, claimed.record.secret, claimed.session)
        try:
            await self._open_ports(runner)
            keep_interpreter(claimed)
            await self._backing.storage.add_lease(runner.lease)
            runner.require_open()  # its sandbox may be lost meanwhile, or its time over
        except BaseException:
            runner.end(EndReason.DELETED)
            ignore_result(self._backing.storage.end_lease(lease.runner_id))
            raise
        self._runners[lease.runner_id] = runner
        return runner

    def _runner(
        self, lease: Lease, blueprint: Blueprint, secret: Secret, session: Session | None
    ) -> Runner:
        return Runner(
            self._backing,
            lease,
            blueprint,
            self._link(lease.sandbox_id, secret, blueprint.root, session),
            on_over=self._on_over,
            on_touched=self._on_touched,
        )

    def _link(
        self, sandbox_id: str, secret: Secret, root: RootFilesystem, session: Session | None
    ) -> Callable[[Runner], Link]:
        def link(runner: Runner) -> Link:
            return Link(
                self._backing, sandbox_id, secret, root, session=session,
                on_connected=runner.on_connected, on_lost=runner.on_lost,
            )  # fmt: skip

        return link

    async def _open_ports(self, runner: Runner) -> None:
        exposed = runner.environment.exposed_ports
        if exposed:
            host, former = self._backing.port_host, runner.lease.ports
            runner.set_ports(await runner.ports.open(host, exposed, former))

    def get(
        self, runner_id: str, *, owner: str | None = None, generation: int | None = None
    ) -> Runner:
        """The runner of this id. `owner` and `generation`: only if these are its, None: any.

        Raises RunnerGone, whose words don't tell whether somebody else has it.
        """
        runner = self._runners.get(runner_id)
        if runner is None or (owner is not None and owner != runner.owner):
            raise RunnerGone("there is no runner with this id, or its lease is over")
        if generation is not None and generation != runner.generation:
            raise RunnerGone("this runner was reset since: ask for its new generation")
        return runner

    def all(self, *, owner: str | None = None) -> list[Runner]:
        """Every runner, or `owner`'s."""
        return [
            runner for runner in self._runners.values() if owner is None or runner.owner == owner
        ]

    async def delete(self, runner_id: str) -> None:
        """End a lease; durable before it returns. Raises RunnerGone."""
        await self._end(self.get(runner_id), EndReason.DELETED)

    async def reset(self, runner_id: str, *, deadline_seconds: float = 10.0) -> Runner:
        """Give a runner a fresh sandbox under the same id; its generation grows by one.

        Whatever ran is lost, and no file remains. Raises what `create` does, and RunnerGone.
        """
        runner = self.get(runner_id)
        generation = runner.lease.generation
        async with runner.moving:
            # Who asked for the same at one time: the sandbox that it meant is gone.
            if runner.over is not None or runner.lease.generation != generation:
                raise RunnerGone("the runner was deleted or reset meanwhile")
            return await self._moved(runner, deadline_seconds)

    async def _moved(self, runner: Runner, deadline_seconds: float) -> Runner:
        claimed = await self._claim(runner.lease.environment, runner.lease.owner, deadline_seconds)
        former, session = runner.lease, runner.link.session
        try:
            if self._runners.get(runner.id) is not runner:
                raise RunnerGone("the runner was deleted meanwhile")
            lease = replace(
                former,
                sandbox_id=claimed.record.id,
                version=claimed.record.version,
                generation=former.generation + 1,
            )
            await self._replace(former, lease)
            if runner.over is not None:
                raise RunnerGone(f"the runner is over: {runner.over}")
        except BaseException:
            self._backing.background.spawn(self._backing.stock.discard(claimed.session))
            raise
        blueprint, secret = claimed.blueprint, claimed.record.secret
        link = self._link(lease.sandbox_id, secret, blueprint.root, claimed.session)
        keep_interpreter(claimed)
        runner.move(lease, blueprint, link)
        self._discard(session, former.sandbox_id)
        return runner

    async def _replace(self, former: Lease, lease: Lease) -> None:
        storage = self._backing.storage
        try:
            await storage.replace_lease(lease)
        except BaseException:
            # It may have been written down all the same: then the lease would be forgotten with the
            # sandbox that it did not get.
            ignore_result(storage.replace_lease(former))
            raise

    # --- the end of a lease -------------------------------------------------------------------

    def _end(self, runner: Runner, reason: EndReason) -> Awaitable[object]:
        """End a lease at once; await the result, and the database knows it."""
        was_told_of = self._runners.pop(runner.id, None) is not None
        session, lease = runner.link.session, runner.lease
        self._touched.pop(runner.id, None)
        ended = self._backing.storage.end_lease(runner.id)
        ignore_result(ended)
        runner.end(reason)
        self._discard(session, lease.sandbox_id)
        if was_told_of:
            self._tell_end(lease, reason)
        return ended

    def _on_over(self, runner: Runner, reason: EndReason) -> None:
        """A lease came to its end by itself, or is this server's no more."""
        if runner.over is not None:
            return
        if reason is not EndReason.TAKEN_OVER:
            self._end(runner, reason)
        elif self._runners.pop(runner.id, None) is not None:
            self._touched.pop(runner.id, None)
            runner.hand_over(reason)
            self._tell_end(runner.lease, reason)

    def _tell_end(self, lease: Lease, reason: EndReason) -> None:
        self._backing.tell(
            RunnerEnded(
                runner_id=lease.runner_id,
                environment=lease.environment,
                owner=lease.owner,
                reason=reason,
                seconds=self._backing.storage.clock() - lease.created_at,
            )
        )

    def _discard(self, session: Session | None, sandbox_id: str) -> None:
        """Destroy a sandbox meanwhile: nobody has to wait for that."""
        self._backing.background.spawn(
            self._backing.stock.discard(sandbox_id if session is None else session)
        )

    # --- one run, and no lease ----------------------------------------------------------------

    async def run_once(
        self,
        environment: str,
        request: RunRequest,
        *,
        owner: str = "",
        deadline_seconds: float = 10.0,
    ) -> RunResult:
        """Compile and run one program in a sandbox of its own, which is destroyed after it.

        The answer doesn't wait for that. Raises what `create` does, InvalidInput, LimitOverCeiling
        and FileError.
        """
        expected = await self._resolve(environment)
        made = planned(expected, request)  # before it costs a sandbox
        started = time.perf_counter()
        claimed = await self._claim(environment, owner, deadline_seconds)
        waited = time.perf_counter() - started
        self._once += 1
        try:
            if claimed.blueprint is not expected:  # the environment was changed meanwhile
                made = planned(claimed.blueprint, request)
            result = await run_in(claimed.session, claimed.blueprint, request, made, waited=waited)
        finally:
            self._once -= 1
            self._discard(claimed.session, claimed.record.id)
        self._backing.tell(
            RunFinished(
                environment=environment,
                outcome=result.outcome.kind,
                wait_seconds=waited,
                seconds=time.perf_counter() - started,
            )
        )
        return result

    # --- the server's life --------------------------------------------------------------------

    async def adopt(
        self, lease: Lease, record: SandboxRecord, executions: Sequence[ExecutionRecord]
    ) -> None:
        """Take up a lease of an earlier server, whose sandbox is still there.

        Its agent is connected to on the first use, or after `start`, whichever comes first. A
        lease of an environment that can't be had any more ends. One that is here already is left
        alone.
        """
        if lease.runner_id in self._runners:
            return
        try:
            blueprint = await self._resolve(lease.environment)
        except AssayError:
            await self._backing.storage.end_lease(lease.runner_id)
            await self._backing.stock.discard(lease.sandbox_id)
            return
        runner = self._runner(lease, blueprint, record.secret, None)
        runner.take_up(executions)
        self._runners[lease.runner_id] = runner
        await self._open_ports(runner)
        if runner.lease.ports != lease.ports:
            await self._backing.storage.replace_lease(runner.lease)
        self._adopted.append(runner)

    def start(self) -> None:
        """Connect to the sandboxes of what was adopted, some at a time."""
        adopted, self._adopted = self._adopted, []
        waiting = iter(adopted)
        for _ in range(min(CONNECTING_MOST, len(adopted))):
            self._backing.background.spawn(_connect_each(waiting))

    async def drain(self, seconds: float, *, heir: Callable[[], bool] = lambda: False) -> None:
        """Lease nothing any more, and wait so long at most for what runs.

        While there is an `heir`, another server, what clients can go on with there isn't waited
        for.
        """
        self._draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self._is_running(heir()) and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def _is_running(self, heir: bool) -> bool:
        return self._once > 0 or any(
            listed.state is State.RUNNING and not (heir and listed.mode == ASSAY_V1)
            for runner in self._runners.values()
            for listed in runner.executions()
        )

    async def aclose(self) -> None:
        """Let go of everything here. Leases, sandboxes and what runs in them go on."""
        self._draining = True
        if self._touching is not None:
            self._write_touched()
        runners = list(self._runners.values())
        self._runners.clear()
        for runner in runners:
            runner.hand_over()
        await self._backing.background.settle(SETTLE_SECONDS)
        for runner in runners:
            if runner.link.session is not None:
                await runner.link.session.agent.aclose()

    def _on_touched(self, runner: Runner) -> None:
        self._touched[runner.id] = runner
        if self._touching is None:
            loop = asyncio.get_running_loop()
            self._touching = loop.call_later(TOUCH_SECONDS, self._write_touched)

    def _write_touched(self) -> None:
        if self._touching is not None:
            self._touching.cancel()
            self._touching = None
        touched, self._touched = self._touched, {}
        if touched:
            times = {runner_id: runner.active_at for runner_id, runner in touched.items()}
            ignore_result(self._backing.storage.touch_leases(times))


async def _connect_each(runners: Iterator[Runner]) -> None:
    for runner in runners:
        with contextlib.suppress(RunnerGone):  # its end says so itself
            await runner.link.connected()


def _require_times(*times: float | None) -> None:
    for seconds in times:
        if seconds is not None and not 0 < seconds < 2**31:
            raise InvalidInput(f"{seconds} seconds are no time for a runner to last")
