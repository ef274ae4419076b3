"""Turns what an engine has made into the sandbox that every other driver makes.

The engine's container begins with an image that holds one program, which waits at a pipe. Its
mount namespace is given what the stage shows (`linux/stage.py`), as its root: processes whose root
was the old one have the new one from then on. What the engine mounted there (its /etc/hosts, /sys,
/dev/shm, …) is gone with it, but for /proc and /dev, which are the container's own. The plan for
the program is the rest: to be root of a user namespace, and nobody outside, and to run the agent.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from assay.domain.errors import CreateTimeout, RuntimeFailed
from assay.drivers.engine.seed import GATE, NEXT_ROOT
from assay.drivers.linux import kernel
from assay.drivers.linux.confinement import (
    CAPABILITIES,
    CONTROL,
    MOUNTS,
    READ_ONLY,
    Bind,
    masked_paths,
)
from assay.drivers.linux.devices import folders
from assay.drivers.linux.filter import compiled
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.launcher import mounts_of
from assay.drivers.linux.process import Process
from assay.drivers.linux.stage import words

USERS: Final = f"{CONTROL}/users"
"""The sandbox's user namespace, until it is entered."""
_SECONDS_TO_WAIT: Final = 10.0
_SECONDS_BETWEEN_LOOKS: Final = 0.002
_WRITE: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_PROC: Final = "/proc"
_DEV: Final = "/dev"
_TERMINALS: Final = "/dev/pts"


def open_gate(agent: Process) -> io.FileIO:
    """The pipe to write the plan to, once process 1 waits for it.

    Whoever closes it without that ends the process. Raises RuntimeFailed or CreateTimeout.
    """
    gate = f"/proc/{agent.pid}/root{GATE}"
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            return io.FileIO(os.open(gate, _WRITE), "wb")
        except OSError as error:
            if error.errno != errno.ENXIO or not agent.runs():  # ENXIO: nobody reads there yet
                raise RuntimeFailed("the agent does not start", detail=str(error)) from error
        if time.monotonic() > deadline:
            raise CreateTimeout(f"the agent did not start in {_SECONDS_TO_WAIT:.0f} s")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def plan(command: Sequence[str], *, top: bool, devices: bool) -> bytes:
    """What process 1 is to do in its new root, before anybody else is there.

    `top`: the group that it is in becomes the highest that the sandbox knows of.
    """
    kept = sum(1 << number for number in CAPABILITIES.values())
    return words(
        [
            ("users_of", USERS),
            ("become",),
            *([("top",)] if top else []),
            ("capabilities", str(kept)),
            ("filter_of", compiled(devices=devices).hex()),
            ("run", *command),
        ]
    )


def groups_seen_by(agent: Process) -> Path:
    """What its namespace of groups is called. Raises ProcessLookupError when it has ended."""
    try:
        return Path(f"/proc/{agent.pid}/ns/cgroup").readlink()
    except FileNotFoundError:
        raise ProcessLookupError from None


def wait_for_top(agent: Process, before: Path) -> None:
    """Return when the group that it is in has become its highest.

    Raises ProcessLookupError when it ends, or CreateTimeout.
    """
    deadline = time.monotonic() + _SECONDS_TO_WAIT
    while groups_seen_by(agent) == before:
        if time.monotonic() > deadline:
            raise CreateTimeout(f"the agent did not start in {_SECONDS_TO_WAIT:.0f} s")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def furnish(agent: Process, root: Path, binds: Sequence[Bind], first_user: int) -> None:
    """Make `root`, with the binds shown in it, the root of the agent's mount namespace.

    For a launcher's thread, while the stage is there. Raises OSError.
    """
    inside = [bind for bind in binds if not bind.target.startswith(f"{_DEV}/")]
    for bind in inside:
        _show(root, bind)
    with contextlib.ExitStack() as held:
        new_root = _copy(root, held)
        devices = [(_copy(Path(bind.source), held), bind) for bind in binds if bind not in inside]
        superfluous = _mounted_below(agent, _DEV)
        held.enter_context(mounts_of(agent.pid))
        _become_root(new_root, superfluous, first_user)
        _cover()
        for mounts, bind in devices:
            _make_place(bind)
            kernel.attach_mounts(mounts, Path(bind.target))


def _make_place(bind: Bind) -> None:
    for each in folders([bind.target]):
        Path(each).mkdir(exist_ok=True)
    if bind.device:
        Path(bind.target).touch()
    else:
        Path(bind.target).mkdir(exist_ok=True)


def _show(root: Path, bind: Bind) -> None:
    flags = MountFlag.NOSUID | MountFlag.NODEV
    flags |= MountFlag.NONE if bind.writable else MountFlag.RDONLY
    flags |= MountFlag.NONE if bind.executable else MountFlag.NOEXEC
    with _place(root, bind.target) as place:
        kernel.mount(bind.source, place, flags=MountFlag.BIND)
    with _place(root, bind.target) as shown:
        kernel.mount("none", shown, flags=MountFlag.REMOUNT | MountFlag.BIND | flags)


@contextlib.contextmanager
def _place(root: Path, target: str) -> Iterator[Path]:
    """Wherever a path leads to within a root: an image's links lead nowhere else."""
    found = kernel.open_in(root, target)
    try:
        yield Path(f"/proc/self/fd/{found}")
    finally:
        os.close(found)


def _copy(source: Path, held: contextlib.ExitStack) -> int:
    mounts = kernel.copy_mounts(source)
    held.callback(os.close, mounts)
    return mounts


def _become_root(mounts: int, superfluous: Sequence[Path], first_user: int) -> None:
    """In the agent's mount namespace, where the host's /proc is not to be seen."""
    root = Path(NEXT_ROOT)
    kernel.attach_mounts(mounts, root)
    for path in superfluous:
        kernel.detach(path)
    for kept in (_PROC, _DEV):
        kernel.mount(kept, f"{NEXT_ROOT}{kept}", flags=MountFlag.MOVE)
    kernel.change_root(root)
    for mount in MOUNTS:
        # Its options are of the file system, which is this container's alone. Whoever mounts it
        # counts groups as the host does: the sandbox's first is another there.
        changed = {"newinstance": "", "gid=0": f"gid={first_user}"}
        options = ",".join(filter(None, (changed.get(each, each) for each in mount.options)))
        kernel.mount(mount.kind, mount.target, mount.kind, MountFlag.REMOUNT | mount.flags, options)


def _cover() -> None:
    """Mask what is to be masked of /proc: engines have other lists, and Podman hears of none."""
    closed = MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    for path in map(Path, masked_paths()):
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                kernel.mount("sandbox", path, "tmpfs", closed, "size=4k,nr_inodes=1,mode=755")
            else:
                kernel.mount("/dev/null", path, flags=MountFlag.BIND)
    for path in map(Path, READ_ONLY):
        kernel.mount(path, path, flags=MountFlag.BIND)
        kernel.mount("none", path, flags=MountFlag.REMOUNT | MountFlag.BIND | closed)


def _mounted_below(agent: Process, folder: str) -> list[Path]:
    """What is mounted in a folder for the agent, innermost first, but for its terminals."""
    lines = Path(f"/proc/{agent.pid}/mountinfo").read_text().splitlines()
    points = {line.split()[4] for line in lines} - {_TERMINALS}
    return [Path(each) for each in sorted(points, reverse=True) if each.startswith(f"{folder}/")]
