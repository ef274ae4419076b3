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

from assay.domain.errors import RuntimeFailed
from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.oci import devices, kernel, working_folder
from assay.drivers.oci.bundle import AGENT_FOLDER, CONTROL, Bind
from assay.drivers.oci.kernel import MountFlag
from assay.drivers.oci.users import WIDTH, host_id
from assay.drivers.oci.working_folder import WorkingFolder

_STAGE: Final = Path("/dev")
_IMAGE: Final = _STAGE / "image"
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV
_GROUPS: Final = ("memory", "pids", "cpu", "cpuacct", "freezer", "unified")
_NOT_THERE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP)
"""What a kernel or a file system says that can't tell owners in another way."""
_EMPTY: Final = "empty"
"""An overlay that can't be written needs two layers."""
_OWN_INODES: Final = 8
"""Of the writable layer: its folders, the secret and the socket."""
_OVERLAY_INODES: Final = 2
"""More, when the working folder is an overlay: what that keeps for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Writable:
    """A folder of the writable layer."""

    name: str
    target: str
    mode: int


_WRITABLE: Final = (
    Writable(name="control", target=CONTROL, mode=0o700),
    Writable(name="tmp", target="/tmp", mode=0o1777),
    Writable(name="shm", target="/dev/shm", mode=0o1777),
    Writable(name="var-tmp", target="/var/tmp", mode=0o1777),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """What the runtime is to show."""

    root: Path
    binds: list[Bind]
    owners: bool
    """Whether it is seen whose files the image's are."""


@contextlib.contextmanager
def staged(
    spec: SandboxSpec, agent: Path, first_user: int, *, rootless: bool = False
) -> Iterator[Staged]:
    """Mount everything; at the end nothing is left but what the sandbox itself holds on to."""
    _require_folders(spec.root.path)
    with devices.stage(_STAGE, rootless=rootless):
        (_STAGE / _EMPTY).mkdir()
        owners = _bring(spec.root, first_user, rootless=rootless)
        place = working_folder.find(_IMAGE, spec.root.working_folder)
        root = _show_image(place, first_user)
        binds = [
            Bind(
                source=_show(mount.source, str(number)),
                target=mount.target,
                executable=not _forbids_programs(mount.source),
            )
            for number, mount in enumerate(spec.root.mounts)
        ]
        binds.append(Bind(source=_show(agent, "agent"), target=AGENT_FOLDER))
        binds += _writable(spec, first_user, place, rootless=rootless)
        yield Staged(root=root, binds=binds, owners=owners)


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


def _bring(root: RootFilesystem, first_user: int, *, rootless: bool) -> bool:
    """Put the image on the stage, for overlays to show; say if its files keep their owners.

    Without root, files on disk belong to ids of ours, which are those of the first range.
    """
    _IMAGE.mkdir()
    if root.owners and not rootless:
        owners = kernel.user_namespace(first_user, WIDTH)
        try:
            kernel.mount_owned(root.path, _IMAGE, owners)
            return True
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
        finally:
            os.close(owners)
    kernel.mount(root.path, _IMAGE, flags=MountFlag.BIND)
    return root.owners and rootless and first_user == 1


def _show_image(place: WorkingFolder, first_user: int) -> Path:
    """Put an overlay of the image on the stage, with folders for what an image may lack.

    That is its working folder's place, and /dev/shm's where /dev is no mount of the host's.
    """
    root, below = _STAGE / "root", _STAGE / "below"
    root.mkdir()
    (below / "dev/shm").mkdir(parents=True)
    if place.missing:
        _make_folders(below, place.target, first_user)
    keep = MountFlag.NOEXEC if _forbids_programs(_IMAGE) else MountFlag.NONE
    _overlay(root, MountFlag.RDONLY | _FLAGS | keep, f"lowerdir={_IMAGE}:{below}")
    return root


def _make_folders(above: Path, path: str, owner: int) -> None:
    for name in path.strip("/").split("/"):
        above = above / name
        above.mkdir(exist_ok=True)
        os.chown(above, owner, owner)


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
    _overlay(folder, flags, f"lowerdir={folder}:{_STAGE / _EMPTY}")


def _overlay(target: Path, flags: MountFlag, layers: str) -> None:
    # The stage's paths need no quoting, as those of an image might.
    try:
        kernel.mount("sandbox", target, "overlay", flags, layers)
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


def _writable(
    spec: SandboxSpec, first_user: int, place: WorkingFolder, *, rootless: bool
) -> list[Bind]:
    layer = _STAGE / "writable"
    layer.mkdir()
    _mount_memory(layer, spec.limits, _OWN_INODES + (0 if place.empty else _OVERLAY_INODES))
    binds = []
    for folder in _WRITABLE:
        if not _has(spec.root.path, folder.target):
            continue
        path = layer / folder.name
        _make_folder(path, folder.mode, first_user, first_user)
        binds.append(Bind(source=path, target=folder.target, writable=True))
    secret = layer / "control" / "secret"
    secret.write_bytes(spec.secret.reveal())
    secret.chmod(0o400)
    os.chown(secret, first_user, first_user)
    if place.target not in (bind.target for bind in binds):
        user, group = host_id(first_user, spec.root.user), host_id(first_user, spec.root.group)
        # Redirected: whole folders of the image can be renamed, too. That is root's alone.
        marks = "userxattr" if rootless else "redirect_dir=on"
        binds.append(_working(layer, place, binds, first_user, (user, group), marks))
    return binds


def _working(
    layer: Path,
    place: WorkingFolder,
    others: list[Bind],
    root: int,
    owner: tuple[int, int],
    marks: str,
) -> Bind:
    """The working folder: what the image has there can be changed, in the writable layer alone."""
    for other in others:
        if place.target.startswith(f"{other.target}/"):
            _make_folders(other.source, place.target.removeprefix(other.target), root)
    path = layer / "working"
    _make_folder(path, 0o755, *owner)
    if place.empty:
        return Bind(source=path, target=place.target, writable=True)
    work, below, shown = layer / "work", _STAGE / "working-below", _STAGE / "working"
    for folder in (work, below, shown):
        folder.mkdir()
    kernel.bind_in(_IMAGE, place.target, below)
    _overlay(shown, _FLAGS, f"lowerdir={below},upperdir={path},workdir={work},{marks}")
    return Bind(source=shown, target=place.target, writable=True)


def _make_folder(path: Path, mode: int, user: int, group: int) -> None:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, user, group)


def _has(root: Path, target: str) -> bool:
    """Not every image has a /var/tmp of its own; those on other mounts are always there."""
    if target != "/var/tmp":
        return True
    folders = (root / "var", root / "var/tmp")
    return all(folder.is_dir() and not folder.is_symlink() for folder in folders)


def _mount_memory(target: Path, limits: SandboxLimits, own_inodes: int) -> None:
    options = f"mode=755,size={limits.disk_bytes},nr_inodes={limits.inodes + own_inodes}"
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
