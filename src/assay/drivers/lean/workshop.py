"""Makes sandboxes with `lean`: what is the same for all, perhaps long before, then the rest."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, RuntimeFailed
from assay.driver.port import Capabilities, Sandbox, SandboxSpec
from assay.drivers.lean.helper import Helper, Refused, open_log, readable
from assay.drivers.lean.plan import Completions, Preparation, completion
from assay.drivers.lean.stock import Prepared, Stock
from assay.drivers.linux.cgroups import SECONDS_TO_END, Gift, join
from assay.drivers.linux.confinement import agent_command, instead_of_groups
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.finish import in_thread, to_the_end, unbroken
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.process import Process
from assay.drivers.linux.stage import keeps_owners, overlay_refused, staged, words
from assay.drivers.linux.workshop import Made, Workshop

_MARK: Final = "\3"
_OVERLAY: Final = "overlay "


class LeanWorkshop(Workshop[SandboxFolder]):
    """Up to `stock` processes wait, prepared, for the sandboxes to come."""

    def __init__(
        self, *, program: Path, state: Path, agent: Path, first_user: int, stock: int
    ) -> None:
        super().__init__(
            name="lean", state=state, agent=agent, first_user=first_user, kind=SandboxFolder
        )
        self._is_ready = False
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="assay-lean")
        self._completions = Completions(self._completion)
        self.helper = Helper(program, self._take_out)
        # Without root, which user ids a sandbox has depends on its image.
        self.stock = Stock(
            state / self.name / "prepared",
            0 if self.ids.rootless else stock,
            prepare=self._prepare,
            give_up=self._give_up,
            discard=self._clear,
        )

    async def get_ready(self) -> None:
        """Find out, once, all that takes its time. Raises AssayError."""
        if self._is_ready:
            return
        try:
            await in_thread(self._threads, self._look_around)
        except OSError as error:
            raise self._explained(error) from error
        self._is_ready = True

    def _look_around(self) -> None:
        compiled()
        _ = self._ranges, self._installed_agent, self._preparation, self._preparation_for_owner

    def capabilities(self) -> Capabilities:
        """What can be done here."""
        return self._counted(Capabilities(devices=True))

    def _take_out(self, helper: int) -> None:
        for file in self.groups.exits():
            join(file, helper)

    def reserve(self) -> str:
        """The id of the sandbox that is to be made next: of one that is prepared, if any is."""
        return self.stock.reserve()

    async def make(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections; nothing is left on any failure, nor when
        this is cancelled."""
        try:
            with self.stock.at_work(sandbox_id) as found:
                if found is not None and not found.process.runs():  # killed while it waited
                    await unbroken(self._give_up(found))
                    found = None
                prepared = found or await self._prepare(sandbox_id, owners=spec.root.owners)
                try:
                    folder = await self._complete(prepared, spec)
                except BaseException:
                    await to_the_end(self._give_up(prepared))
                    raise
        except Refused as error:
            raise self._meaning(error) from None
        except OSError as error:
            raise self._explained(error) from error
        os.close(prepared.lock)
        owners = not prepared.shell.hides_owners and keeps_owners(
            spec.root, prepared.first_user, rootless=self.ids.rootless
        )
        facts = self._facts(folder, spec, prepared.process, prepared.first_user, owners=owners)
        return Sandbox(id=sandbox_id, facts=facts)

    # --- what is the same for all ----------------------------------------------------------------

    @cached_property
    def _preparation(self) -> Preparation:
        return self._prepared_with(self.groups.gifts(_MARK))

    @cached_property
    def _preparation_for_owner(self) -> Preparation:
        """For who has spare groups that are theirs already: others are new, if there are any."""
        spares = self.groups.spares
        kept = () if spares is None else tuple(f"{tree}/" for tree in spares.trees.values())
        return self._prepared_with([
            gift for gift in self.groups.gifts(_MARK) if not gift.path.startswith(kept)
        ])  # fmt: skip

    def _prepared_with(self, gifts: Sequence[Gift]) -> Preparation:
        return Preparation(
            gifts=gifts,
            entrances=self.groups.entrances(_MARK),
            learners=self.groups.learners(_MARK),
            mark=_MARK,
            rootless=self.ids.rootless,
        )

    async def _prepare(self, sandbox_id: str, *, owners: bool = False) -> Prepared:
        folder, lock = await self.stock.lay(sandbox_id)
        try:
            return await self._begin(folder, lock, owners=owners)
        except BaseException:
            await to_the_end(self._clear(folder))
            os.close(lock)
            raise

    async def _begin(self, folder: SandboxFolder, lock: int, *, owners: bool) -> Prepared:
        preparation = self._preparation_for_owner
        first_user = await self._took_spare_groups(folder.id)
        if first_user is None:
            preparation = self._preparation
            first_user = self._ranges.take(folder.id, owners=owners)
            await in_thread(self._threads, self.groups.make, folder.id, owner=None)
        plan = words([folder.noting_process(first_user)])
        plan += preparation.of(folder.id, first_user)
        log = open_log(folder.agent_log)
        try:
            shell = await self.helper.start(plan, log, lock)
        finally:
            os.close(log)
        self._made[folder.id] = Made(process=shell.process, first_user=first_user)
        try:
            self.groups.place(folder.id, shell.process.pid, first_user, entered=True)
        except BaseException:
            shell.close()
            raise
        return Prepared(folder=folder, lock=lock, shell=shell, first_user=first_user)

    async def _took_spare_groups(self, sandbox_id: str) -> int | None:
        """The first user of spare groups, and now of the sandbox's, if one errand of `lean`'s was
        enough to take them, as it mostly is."""
        spares = self.groups.spares
        if spares is None or (move := spares.taking(sandbox_id)) is None:
            return None
        done = False
        try:
            # Others have them, or they are not as they should be.
            with contextlib.suppress(AssayError, OSError):
                users = self._ranges.taking(sandbox_id, move.owner)
                await self.helper.do(words([*users, *move.steps]))
                done = True
        finally:
            spares.taken(move, done=done)
        if done:
            return move.owner
        self._ranges.free(sandbox_id, move.owner)
        await in_thread(self._threads, self.groups.remove, sandbox_id, None)
        return None

    # --- what is its own -------------------------------------------------------------------------

    async def _complete(self, prepared: Prepared, spec: SandboxSpec) -> SandboxFolder:
        folder = self.sandboxes.folder(prepared.id)
        # Without root, a sandbox's users are no row of numbers.
        alike = not self.ids.rootless and not spec.devices
        made = self._completions.of if alike else self._completion
        plan = words([
            prepared.folder.noting_image(spec.root.digest),
            ("rename", f"{prepared.folder.path}", f"{folder.path}"),
        ])  # fmt: skip
        plan += made(spec, prepared.first_user)
        self.groups.limit(prepared.id, spec.limits, prepared.first_user)
        self.sandboxes.open()
        await prepared.shell.complete(plan)
        if not prepared.process.runs():
            raise RuntimeFailed("the agent ended as soon as it was started", detail=folder.log())
        return folder

    def _completion(self, spec: SandboxSpec, first_user: int) -> bytes:
        shown = staged(spec, self._installed_agent, first_user, rootless=self.ids.rootless)
        groups = self.groups
        held = ("--cgroups", str(len(groups.learners(_MARK))))
        command = agent_command(
            spec.unclaimed_seconds, *(held if groups.limits else instead_of_groups(spec.limits))
        )
        wide_filter = compiled(devices=True) if shown.nodes else None
        return words(
            completion(shown, first_user=first_user, command=command, wide_filter=wide_filter)
        )

    async def _give_up(self, prepared: Prepared) -> None:
        prepared.shell.close()
        await _ended(prepared.process)  # which may just be about to move its folder
        taken = self.sandboxes.folder(prepared.id)
        await self._clear(taken if taken.path.exists() else prepared.folder)
        os.close(prepared.lock)

    # --- its end ---------------------------------------------------------------------------------

    async def clear(self, sandbox_id: str) -> None:
        """The same as `remove`, which is seldom needed: most often an errand of `lean`'s will do.

        Raises AssayError.
        """
        lock = self.sandboxes.lock_now(sandbox_id) if sandbox_id in self._made else None
        if lock is None:
            await in_thread(self._threads, self.remove, sandbox_id)
            return
        try:
            await self._empty(self.sandboxes.folder(sandbox_id))
        finally:
            os.close(lock)
        self._let_go(sandbox_id)

    async def _clear(self, folder: SandboxFolder) -> None:
        """The same for a folder whose lock we have, as far as that can be done: what can't be
        removed now is found by the next server."""
        with contextlib.suppress(AssayError, OSError):
            await self._empty(folder)
        self._let_go(folder.id)

    async def _empty(self, folder: SandboxFolder) -> None:
        if not await self._left_at_once(folder):
            await in_thread(self._threads, self._remove, folder)

    async def _left_at_once(self, folder: SandboxFolder) -> bool:
        """Whether one errand of `lean`'s was enough for all that is left of it, as it mostly is."""
        made, spares = self._made.get(folder.id), self.groups.spares
        if made is None or spares is None:
            return False
        if (move := spares.leaving(folder.id, made.first_user)) is None:
            return False
        await _ended(made.process)
        users = self._ranges.leaving(folder.id, made.first_user)
        done = False
        try:
            await self.helper.do(words([*move.steps, *users, *folder.leaving()]))
            done = True
        except Refused:
            pass  # whatever is not done is seen to in another way
        except BaseException as error:
            # Nobody has heard how it went. The folder goes last: groups that had their names again
            # without it, no later server would look for.
            done = not folder.path.exists()
            if not isinstance(error, AssayError | OSError):
                raise
        finally:
            spares.left(move, done=done)
        return done

    def _meaning(self, error: Refused) -> AssayError:
        """A better error, where it is known what the refusal means."""
        if error.number in (errno.ENOSPC, errno.EDQUOT) and not self._has_room():
            return self._disk_full(error.detail)
        if error.detail.startswith(_OVERLAY):
            return overlay_refused(error.number, error.detail)
        return error

    async def aclose(self) -> None:
        """Let go of everything but the sandboxes."""
        await self.stock.aclose()
        await self.helper.aclose()
        await in_thread(self._threads, self.close)
        self._threads.shutdown()


async def _ended(process: Process) -> None:
    """End a sandbox by its process 1: the kernel lets it go when all others have ended."""
    descriptor = process.hold.killed() if process.hold is not None else None
    if descriptor is not None:
        await readable(descriptor, SECONDS_TO_END)
