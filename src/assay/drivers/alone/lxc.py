"""LXC by its own program `lxc-start`, with a configuration that holds no more than it must."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeMissing
from assay.driver.port import Health, Problem, RootFilesystem
from assay.drivers.alone.crowd import Crowd

_SHOWN: Final = ".assay"
_GROUPS: Final = "/sys/fs/cgroup"
_MISSING: Final = Problem(summary="LXC is not installed", remedy="apt-get install lxc")
_CONFIGURATION: Final = """\
lxc.rootfs.path = dir:{root}
lxc.rootfs.options = ro
lxc.mount.auto = proc:mixed
lxc.autodev = 1
lxc.pty.max = 0
lxc.tty.max = 0
lxc.net.0.type = empty
lxc.mount.entry = tmpfs tmp tmpfs nosuid,nodev,size=64m 0 0
lxc.init.cmd = /{shown}/{program} --idle
"""


class LxcAlone:
    """Starts `floor --idle` in containers of LXC; `floor` is that program."""

    name = "lxc-start alone"

    def __init__(self, *, floor: Path) -> None:
        self._floor = floor

    async def probe(self) -> Health:
        """Say whether it is installed."""
        found = shutil.which("lxc-start") and shutil.which("lxc-stop")
        return Health(works=bool(found), problems=() if found else (_MISSING,))

    async def start(self, root: RootFilesystem, count: int) -> Standing:
        """Start so many at once. Raises RuntimeFailed, RuntimeMissing or CreateTimeout."""
        start, stop = shutil.which("lxc-start"), shutil.which("lxc-stop")
        if start is None or stop is None:
            raise RuntimeMissing(_MISSING.summary)
        mark = f"assay-{secrets.token_hex(8)}"
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="assay-lxc-"))
        named: list[str | Path] = ["-P", folder, "-n", f"{mark}-%"]
        standing = Standing(self._floor, count, [stop, "--kill", *named], folder, mark)
        try:
            configuration = folder / "config"
            configuration.write_text(self._configuration(root))
            await standing.begin([start, *named, "-f", configuration])
        except BaseException:
            await standing.discard()
            raise
        return standing

    def _configuration(self, root: RootFilesystem) -> str:
        shown = [(mount.source, mount.target.lstrip("/")) for mount in root.mounts]
        shown.append((self._floor.parent, _SHOWN))
        lines = [f"lxc.mount.entry = {_word(source)} {_word(target)} none bind,ro 0 0\n"
                 for source, target in shown]  # fmt: skip
        whole = _CONFIGURATION.format(root=root.path, shown=_SHOWN, program=self._floor.name)
        return "".join((whole, *lines))


def _word(path: Path | str) -> str:
    """As fstab has it."""
    return str(path).replace("\\", r"\134").replace(" ", r"\040")


class Standing:
    """So many that are idle."""

    def __init__(
        self, floor: Path, count: int, stop: list[str | Path], folder: Path, mark: str
    ) -> None:
        self._floor = floor
        self._count = count
        self._stop = stop
        self._folder = folder
        self.seconds = 0.0
        self.names = (mark,)
        """In the titles of their monitors, and the names of their control groups."""

    async def begin(self, start: list[str | Path]) -> None:
        """Start them; `lxc-start` returns when its container runs."""
        crowd = await Crowd.start(self._floor, self._count, start)
        await crowd.aclose()
        self.seconds = crowd.seconds

    async def end(self) -> float:
        """End them; seconds until all were gone."""
        try:
            crowd = await Crowd.start(self._floor, self._count, self._stop)
            await crowd.aclose()
            return crowd.seconds
        except BaseException:
            await self._stop_each()
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def discard(self) -> None:
        """End those that came to run, and remove what there is of all."""
        await self._stop_each()
        shutil.rmtree(self._folder, ignore_errors=True)
        await asyncio.to_thread(_remove_groups, self.names[0])

    async def _stop_each(self) -> None:
        for number in range(self._count):
            command = [str(word).replace("%", str(number)) for word in self._stop]
            ended = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await ended.wait()


def _remove_groups(name: str) -> None:
    """Of containers that could not be started, `lxc-start` leaves the monitors' groups."""
    found = [folder for folder, _, _ in os.walk(_GROUPS) if name in Path(folder).name]
    for folder in sorted(found, reverse=True):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
