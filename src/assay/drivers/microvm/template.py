"""Machines that are kept: booted once for an image and limits, restored for each sandbox.

    templates/<key>/
        initrd   what it began with
        ram      its memory, sparse
        state    of its processors and devices
        sums     checksums of both, written last

A kept machine is as good as its files: they are read once, checked, and held in memory that nobody
can change, not even a monitor that a learner has taken over. What is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError, DiskFull
from assay.driver.port import SandboxSpec
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.stage import words
from assay.drivers.microvm import plan
from assay.drivers.microvm.disk import Disks, locked
from assay.drivers.microvm.guest_kernel import find_kernel
from assay.drivers.microvm.initrd import Entry, archive, device, file, folder
from assay.drivers.microvm.machine import Kept, Machine, Monitor, Place, size

_MOST: Final = 8
"""Kept on disk; those that were used longest ago go first."""
_CHUNK: Final = 1 << 20
_ADD_SEALS: Final = 1033
_SEALS: Final = 0x01 | 0x02 | 0x04 | 0x10
"""Nobody may change these, shrink, grow, or write to what is shared; copies on write are."""
_SECONDS_UNTIL_USED: Final = 5.0


class Templates:
    """The folder of all of them, shared by all servers of the machine."""

    def __init__(
        self, *, monitor: Monitor, folder: Path, disks: Disks, kernel: str, guest: Path
    ) -> None:
        self._monitor = monitor
        self._folder = folder
        self._disks = disks
        self._kernel = kernel
        self._guest = guest
        self._known: dict[object, Kept] = {}
        self._making = threading.Lock()

    def kept(self, spec: SandboxSpec, agent: Path, place: Callable[[], Iterator[Place]]) -> Kept:
        """A machine of this image and these limits, booted in `place` if there is none.

        Raises what monitors and disks do.
        """
        shape = _shape(spec)
        with self._making:  # one at a time is soonest done: the first of a kind is for all others
            found = self._known.get(shape)
            if found is None or not _is_whole(found.machine):
                found = self._known[shape] = self._found(spec, agent, place)
            return found

    def forget(self, spec: SandboxSpec) -> None:
        """One that does not work is made anew the next time."""
        with self._making:
            kept = self._known.pop(_shape(spec), None)
            if kept is not None:
                os.close(kept.memory)
                shutil.rmtree(kept.state.parent, ignore_errors=True)

    def close(self) -> None:
        """Let go of what is held in memory."""
        with self._making:
            while self._known:
                os.close(self._known.popitem()[1].memory)

    def _found(self, spec: SandboxSpec, agent: Path, place: Callable[[], Iterator[Place]]) -> Kept:
        disk = self._disks.of(spec.root)
        kernel = find_kernel(self._kernel)
        memory_mib, processors = size(spec.limits)
        begins = self._initrd(spec, agent)
        key = hashlib.sha256(begins)
        release = kernel.image.stat()
        key.update(
            repr(
                (disk.name, memory_mib, processors, self._monitor.identity, str(kernel.image),
                 release.st_size, release.st_mtime_ns)
            ).encode()
        )  # fmt: skip
        folder_of_it = self._folder / key.hexdigest()[:32]
        machine = Machine(
            kernel=kernel.image,
            initrd=folder_of_it / "initrd",
            disk=disk,
            memory_mib=memory_mib,
            processors=processors,
        )
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with locked(self._folder):
            kept = _read(machine)
            if kept is None:
                shutil.rmtree(folder_of_it, ignore_errors=True)
                self._make(machine, begins, place)
                kept = _read(machine)
        if kept is None:
            raise AssayError("a kept machine can't be read back")
        return kept

    def _initrd(self, spec: SandboxSpec, agent: Path) -> bytes:
        kernel = find_kernel(self._kernel)
        modules = kernel.modules(vsock=not self._monitor.ports)
        names = [name for name, _ in modules]
        entries: dict[str, Entry] = {name: folder() for name in plan.FOLDERS}
        for path in sorted(agent.rglob("*")):
            name = f"sandbox-agent/{path.relative_to(agent)}"
            entries[name] = folder() if path.is_dir() else file(path.read_bytes(), 0o755)
        entries |= {f"modules/{name}": file(content) for name, content in modules}
        entries["dev/console"] = device(5, 1)
        entries["init"] = file(self._guest.read_bytes(), 0o755)
        entries["boot"] = file(words(plan.boot(names, self._monitor.ports, spec.limits)))
        entries["plan"] = file(words(plan.preparation(spec, agent)))
        entries["filter"] = file(compiled())
        entries["machine-id"] = file(b"0" * 32 + b"\n", 0o444)
        return archive(entries)

    def _make(self, machine: Machine, begins: bytes, place: Callable[[], Iterator[Place]]) -> None:
        self._make_room()
        home = machine.initrd.parent
        home.mkdir(mode=0o711)
        try:
            machine.initrd.write_bytes(begins)
            machine.initrd.chmod(0o644)
            with contextlib.contextmanager(place)() as here:
                self._monitor.keep(machine, here, home / "ram", home / "state")
            sums = json.dumps({name: _sum(home / name) for name in ("ram", "state")})
            (home / "sums").write_text(sums)
        except BaseException as error:
            room = os.statvfs(home)
            shutil.rmtree(home, ignore_errors=True)
            # What writes to mapped files where there is no room is killed, and says nothing.
            if isinstance(error, (AssayError, OSError)) and room.f_bavail * room.f_frsize < _CHUNK:
                raise DiskFull(
                    f"the disk is full; free some room for {self._folder}", detail=str(error)
                ) from error
            raise

    def _make_room(self) -> None:
        there = sorted(self._folder.iterdir(), key=lambda each: each.stat().st_mtime)
        for each in there[: max(0, len(there) - _MOST + 1)]:
            shutil.rmtree(each, ignore_errors=True)


def _shape(spec: SandboxSpec) -> object:
    root = spec.root
    return (
        root.digest, root.path, root.mounts, root.user, root.group, root.working_folder,
        root.folders, root.owners, spec.limits,
    )  # fmt: skip


def _is_whole(machine: Machine) -> bool:
    return all(each.is_file() for each in (machine.kernel, machine.initrd, machine.disk))


def _sum(path: Path) -> int:
    with path.open("rb") as opened:
        return _copy(opened.fileno(), None)


def _read(machine: Machine) -> Kept | None:
    """None when there is none, or it is damaged."""
    home = machine.initrd.parent
    try:
        sums = json.loads((home / "sums").read_text())
        if sums.get("state") != _sum(home / "state"):
            return None
        memory = _held(home / "ram", sums.get("ram"), machine.memory_mib * _CHUNK)
        os.utime(home)
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    if memory is None:
        return None
    return Kept(machine=machine, state=home / "state", memory=memory)


def _held(ram: Path, wanted: int, size_of_it: int) -> int | None:
    memory = os.memfd_create("machine", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with ram.open("rb") as opened:
            if os.fstat(opened.fileno()).st_size == size_of_it:
                os.truncate(memory, size_of_it)
                if _copy(opened.fileno(), memory) == wanted:
                    fcntl.fcntl(memory, _ADD_SEALS, _SEALS)
                    return memory
    except BaseException:
        os.close(memory)
        raise
    os.close(memory)
    return None


def _copy(source: int, target: int | None) -> int:
    """Copy what is no hole, and return a checksum of it and of where it is."""
    total, at, end = 0, 0, os.fstat(source).st_size
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # there are only holes from here on
            break
        hole = os.lseek(source, at, os.SEEK_HOLE)
        while at < hole:
            part = os.pread(source, min(_CHUNK, hole - at), at)
            if part.count(0) != len(part):
                total = zlib.crc32(part, zlib.crc32(at.to_bytes(8, "little"), total))
                if target is not None:
                    os.pwrite(target, part, at)
            at += len(part)
    return total
