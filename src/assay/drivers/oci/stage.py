"""Takes the steps of a stage, in a launcher's own mount namespace, for a runtime to show."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from assay.drivers.linux import kernel
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.stage import STAGE, Step, overlay_refused

_NOT_THERE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)
"""What a kernel or a file system says that can't tell owners in another way."""


@contextlib.contextmanager
def stage(steps: Iterable[Step]) -> Iterator[bool]:
    """Take them; at the end nothing is left but what the sandbox itself holds on to.

    Gives whether it is seen whose files are shown, where that was to be.
    """
    with _Performer() as performer:
        for name, *words in steps:
            performer.take(str(name), words)
        yield performer.owners


class _Performer:
    def __init__(self) -> None:
        self.owners = True
        self._covered = False
        self._held: list[int] = []

    def __enter__(self) -> _Performer:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        if self._covered:
            kernel.detach(STAGE)

    def take(self, name: str, words: list[Any]) -> None:
        step: Callable[..., None] = getattr(self, f"_{name}")
        step(*words)

    def _tmpfs(self, target: Path, flags: MountFlag, options: str) -> None:
        kernel.mount("sandbox", target, "tmpfs", flags, options)
        self._covered |= target == STAGE

    def _memory(self, target: Path, flags: MountFlag, options: str) -> None:
        try:
            kernel.mount("sandbox", target, "tmpfs", flags, f"{options},noswap")
        except OSError as error:
            if error.errno != errno.EINVAL:  # Linux 6.4 knows noswap
                raise
            kernel.mount("sandbox", target, "tmpfs", flags, options)

    def _overlay(self, target: Path, flags: MountFlag, layers: str) -> None:
        # The stage's paths need no quoting, as those of an image might.
        try:
            kernel.mount("sandbox", target, "overlay", flags, layers)
        except OSError as error:
            raise overlay_refused(error.errno, str(error)) from error

    def _directory(self, path: Path, mode: int, user: int, group: int) -> None:
        path.mkdir()
        path.chmod(mode)
        os.chown(path, user, group)

    def _file(self, path: Path) -> None:
        path.touch()

    def _node(self, path: Path, major: int, minor: int) -> None:
        os.mknod(path, stat.S_IFCHR, os.makedev(major, minor))
        path.chmod(0o666)

    def _take(self, path: Path) -> None:
        self._held.append(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _give(self, path: Path) -> None:
        path.touch()
        descriptor = self._held.pop(0)
        try:
            kernel.mount(f"/proc/self/fd/{descriptor}", path, flags=MountFlag.BIND)
        finally:
            os.close(descriptor)

    def _show(self, source: Path, target: Path) -> None:
        kernel.mount(source, target, flags=MountFlag.BIND)

    def _show_in(self, root: Path, path: str, target: Path) -> None:
        kernel.bind_in(root, path, target)

    def _show_owned(self, source: Path, target: Path, first: int, count: int) -> None:
        owners = kernel.user_namespace(first, count)
        try:
            kernel.mount_owned(source, target, owners)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            self.owners = False
            kernel.mount(source, target, flags=MountFlag.BIND)
        finally:
            os.close(owners)

    def _flags(self, target: Path, flags: MountFlag) -> None:
        kernel.mount("none", target, flags=MountFlag.REMOUNT | MountFlag.BIND | flags)

    def _secret(self, path: Path, user: int, digits: str) -> None:
        path.write_bytes(bytes.fromhex(digits))
        path.chmod(0o400)
        os.chown(path, user, user)
