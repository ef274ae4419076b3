"""Takes the steps of a stage, in a launcher's own mount namespace, for a runtime to show."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

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
            performer.take(name, words)
        yield performer.owners


class _Performer:
    def __init__(self) -> None:
        self.owners = True
        self._covered = False
        self._held: list[int] = []
        self._devices = os.open(STAGE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        """The host's, which the stage covers."""

    def __enter__(self) -> _Performer:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (self._devices, *self._held):
            os.close(descriptor)
        if self._covered:
            kernel.detach(Path(STAGE))

    def take(self, name: str, words: list[str]) -> None:
        step: Callable[..., None] = getattr(self, f"_{name}")
        step(*words)

    def _tmpfs(self, target: str, flags: str, options: str) -> None:
        kernel.mount("sandbox", target, "tmpfs", MountFlag(int(flags)), options)
        self._covered |= target == STAGE

    def _memory(self, target: str, flags: str, options: str) -> None:
        try:
            self._tmpfs(target, flags, f"{options},noswap")
        except OSError as error:
            if error.errno != errno.EINVAL:  # Linux 6.4 knows noswap
                raise
            self._tmpfs(target, flags, options)

    def _overlay(self, target: str, flags: str, layers: str) -> None:
        # The stage's paths need no quoting, as those of an image might.
        try:
            kernel.mount("sandbox", target, "overlay", MountFlag(int(flags)), layers)
        except OSError as error:
            raise overlay_refused(error.errno, str(error)) from error

    def _directory(self, path: str, mode: str, user: str, group: str) -> None:
        Path(path).mkdir()
        Path(path).chmod(int(mode))
        os.chown(path, int(user), int(group))

    def _file(self, path: str) -> None:
        Path(path).touch()

    def _node(self, path: str, major: str, minor: str) -> None:
        os.mknod(path, stat.S_IFCHR, os.makedev(int(major), int(minor)))
        Path(path).chmod(0o666)

    def _take(self, path: str) -> None:
        self._held.append(os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC))

    def _give(self, path: str) -> None:
        self._file(path)
        descriptor = self._held.pop(0)
        try:
            kernel.mount(f"/proc/self/fd/{descriptor}", path, flags=MountFlag.BIND)
        finally:
            os.close(descriptor)

    def _reveal(self, name: str, target: str) -> None:
        kernel.mount(f"/proc/self/fd/{self._devices}/{name}", target, flags=MountFlag.BIND)

    def _show(self, source: str, target: str) -> None:
        kernel.mount(source, target, flags=MountFlag.BIND)

    def _show_in(self, root: str, path: str, target: str) -> None:
        kernel.bind_in(Path(root), path, Path(target))

    def _show_owned(self, source: str, target: str, first: str, count: str) -> None:
        owners = kernel.user_namespace(int(first), int(count))
        try:
            kernel.mount_owned(Path(source), Path(target), owners)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
            self.owners = False
            kernel.mount(source, target, flags=MountFlag.BIND)
        finally:
            os.close(owners)

    def _flags(self, target: str, flags: str) -> None:
        change = MountFlag.REMOUNT | MountFlag.BIND
        kernel.mount("none", target, flags=change | MountFlag(int(flags)))

    def _secret(self, path: str, user: str, digits: str) -> None:
        Path(path).write_bytes(bytes.fromhex(digits))
        Path(path).chmod(0o400)
        os.chown(path, int(user), int(user))
