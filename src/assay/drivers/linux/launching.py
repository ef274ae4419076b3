"""A workshop whose sandboxes are started from threads with mounts of their own."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from assay.drivers.linux.folder import AnyFolder, new_id
from assay.drivers.linux.launcher import Launcher
from assay.drivers.linux.workshop import MakingWorkshop

Ended = subprocess.CompletedProcess[str]


class LaunchingWorkshop(MakingWorkshop[AnyFolder]):
    """What those have in common that have a program, or an engine, make what a stage shows."""

    @cached_property
    @abstractmethod
    def _launcher(self) -> Launcher:
        """The threads."""

    def close(self) -> None:
        """Let go of everything but the sandboxes."""
        if "_launcher" in self.__dict__:
            self._launcher.close()
        super().close()

    def _timed(
        self,
        program: Path,
        begin: Callable[[AnyFolder], int],
        run: Callable[[AnyFolder, int], Ended],
    ) -> int:
        """Nanoseconds of a program that makes a sandbox, as a stopwatch around it says.

        `begin` takes what the sandbox needs, and says which users it has; `run`, in a thread with
        mounts of its own, runs it to its end. Nothing of it is left.
        """
        sandbox_id = new_id()
        try:
            with self.sandboxes.making(sandbox_id) as (folder, _):
                first_user = begin(folder)
                ended = self._launcher.submit(lambda: run(folder, first_user)).result()
                if ended.returncode != 0:
                    raise self._failed(program, f"{folder.log()}\n{ended.stderr}")
                return int(ended.stdout)
        finally:
            self.remove(sandbox_id)
