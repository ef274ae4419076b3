"""What is mounted for one sandbox, in a launcher's own mount namespace, for the runtime to show.

Runtimes look sources up as the sandbox's root, whom the host's folders may not let pass (/root).
So all of them are put on a stage that anybody may enter: a private tmpfs over /dev. Runtimes bind
the devices from there, so these are the sandbox's own, too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.command import LEARNER_UID, WORKSPACE
from assay.domain.errors import RuntimeFailed
from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.oci import kernel
from assay.drivers.oci.bundle import AGENT_FOLDER, CONTROL, Bind
from assay.drivers.oci.kernel import MountFlag

_STAGE: Final = Path("/dev")
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV
_DEVICES: Final = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
_GROUPS: Final = ("memory", "pids", "cpu", "cpuacct", "freezer", "unified")
_EMPTY: Final = "empty"
"""An overlay that can't be written needs two layers."""
_OWN_INODES: Final = 8
"""Of the writable layer: its folders, the secret and the socket."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Writable:
    """A folder of the writable layer."""

    name: str
    target: str
    mode: int
    owner: int = 0


_WRITABLE: Final = (
    Writable(name="control", target=CONTROL, mode=0o700),
    Writable(name="workspace", target=WORKSPACE, mode=0o755, owner=LEARNER_UID),
    Writable(name="tmp", target="/tmp", mode=0o1777),
    Writable(name="shm", target="/dev/shm", mode=0o1777),
    Writable(name="var-tmp", target="/var/tmp", mode=0o1777),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """What the runtime is to show."""

    root: Path
    binds: list[Bind]


@contextlib.contextmanager
def staged(spec: SandboxSpec, agent: Path, first_user: int) -> Iterator[Staged]:
    """Mount everything; at the end nothing is left but what the sandbox itself holds on to."""
    _require_folders(spec.root.path)
    kernel.mount("stage", _STAGE, "tmpfs", MountFlag.NOSUID, "mode=755,size=64k")
    try:
        _make_devices()
        (_STAGE / _EMPTY).mkdir()
        root = _show(spec.root.path, "root")
        binds = [
            Bind(
                source=_show(mount.source, str(number)),
                target=mount.target,
                executable=not _forbids_programs(mount.source),
            )
            for number, mount in enumerate(spec.root.mounts)
        ]
        binds.append(Bind(source=_show(agent, "agent"), target=AGENT_FOLDER))
        binds += _writable(spec, first_user)
        yield Staged(root=root, binds=binds)
    finally:
        kernel.detach(_STAGE)


def _make_devices() -> None:
    for name, (major, minor) in _DEVICES.items():
        os.mknod(_STAGE / name, stat.S_IFCHR, os.makedev(major, minor))
        (_STAGE / name).chmod(0o666)


def _require_folders(root: Path) -> None:
    if root.stat().st_mode & 0o005 != 0o005:
        raise RuntimeFailed(
            f"the root file system {root} is closed to its users; open it: chmod o+rx {root}"
        )
    for name in ("proc", "dev", "tmp", "workspace", ".assay"):
        folder = root / name
        if folder.is_symlink() or not folder.is_dir():
            raise RuntimeFailed(
                f"the root file system {root} lacks the folder {name}; make it: mkdir {folder}"
            )


def _show(source: Path, name: str) -> Path:
    """Put a file, or a folder with inodes of the sandbox's own, on the stage: to be read only."""
    target = _STAGE / name
    is_folder = stat.S_ISDIR(source.stat().st_mode)
    if is_folder:
        target.mkdir()
    else:
        target.touch()
    kernel.mount(source, target, flags=MountFlag.BIND)
    # Here and not only in the bundle: a root file system has no mount options there.
    keep = MountFlag.NOEXEC if _forbids_programs(source) else MountFlag.NONE
    flags = MountFlag.RDONLY | _FLAGS | keep
    if is_folder:
        _cover(target, flags)
    else:
        kernel.mount("none", target, flags=MountFlag.REMOUNT | MountFlag.BIND | flags)
    return target


def _cover(folder: Path, flags: MountFlag) -> None:
    """Put an overlay of nothing over a folder of the stage, for the sake of its inodes.

    Locks, watches and flushes belong to an inode. Through a bind, all sandboxes and the host would
    have them in common. Its content, and so the page cache, is still the same for all.
    """
    # The stage's paths need no quoting, as those of an image might.
    layers = f"lowerdir={folder}:{_STAGE / _EMPTY}"
    try:
        kernel.mount("sandbox", folder, "overlay", flags, layers)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise RuntimeFailed(
                "this kernel has no overlay file system (CONFIG_OVERLAY_FS): modprobe overlay"
            ) from error
        raise RuntimeFailed(
            "an image can't be shown by an overlay; it must not lie on two overlays already",
            detail=str(error),
        ) from error


def _forbids_programs(source: Path) -> bool:
    return bool(os.statvfs(source).f_flag & os.ST_NOEXEC)


def _writable(spec: SandboxSpec, first_user: int) -> list[Bind]:
    layer = _STAGE / "writable"
    layer.mkdir()
    _mount_memory(layer, spec.limits)
    binds = []
    for folder in _WRITABLE:
        if not _has(spec.root.path, folder.target):
            continue
        path = layer / folder.name
        path.mkdir()
        path.chmod(folder.mode)
        os.chown(path, first_user + folder.owner, first_user + folder.owner)
        binds.append(Bind(source=path, target=folder.target, writable=True))
    secret = layer / "control" / "secret"
    secret.write_bytes(spec.secret.reveal())
    secret.chmod(0o400)
    os.chown(secret, first_user, first_user)
    return binds


def _has(root: Path, target: str) -> bool:
    """Not every image has a /var/tmp of its own; those on other mounts are always there."""
    if target != "/var/tmp":
        return True
    folders = (root / "var", root / "var/tmp")
    return all(folder.is_dir() and not folder.is_symlink() for folder in folders)


def _mount_memory(target: Path, limits: SandboxLimits) -> None:
    options = f"mode=755,size={limits.disk_bytes},nr_inodes={limits.inodes + _OWN_INODES}"
    try:
        kernel.mount("sandbox", target, "tmpfs", _FLAGS, f"{options},noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:  # Linux 6.4 knows noswap
            raise
        kernel.mount("sandbox", target, "tmpfs", _FLAGS, options)


def install_agent(program: Path, folder: Path) -> Path:
    """Copy the agent to where its content names it, with folders to mount over; return that one."""
    content = program.read_bytes()
    installed = folder / hashlib.sha256(content).hexdigest()[:16]
    if installed.is_dir():
        return installed
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder, prefix="new-"))
    try:
        (draft / "agent").write_bytes(content)
        (draft / "agent").chmod(0o755)
        (draft / "control").mkdir()
        for name in _GROUPS:
            (draft / "cgroup" / name).mkdir(parents=True)
        draft.chmod(0o755)
        draft.rename(installed)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not installed.is_dir():  # another server was faster
            raise
    return installed
