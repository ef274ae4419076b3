"""What is put on the stage for one sandbox, to be shown in it: as steps, for whoever takes them.

The stage is a private tmpfs over /dev that anybody may enter: a sandbox's root, as whom runtimes
look up what they show, may not pass the host's folders (/root). Runtimes bind the devices from
there, so these are the sandbox's own, too.
"""

from __future__ import annotations

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
from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.linux import working_folder
from assay.drivers.linux.confinement import AGENT_FOLDER, CONTROL, SECRET, Bind
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.users import WIDTH, host_id
from assay.drivers.linux.working_folder import WorkingFolder

STAGE: Final = Path("/dev")
ROOT: Final = STAGE / "root"
WRITABLE: Final = STAGE / "writable"
EMPTY: Final = STAGE / "empty"
"""An overlay that can't be written needs two layers."""
NOTHING: Final = STAGE / "null"
_IMAGE: Final = STAGE / "image"
_FLAGS: Final = MountFlag.NOSUID | MountFlag.NODEV
_GROUPS: Final = ("memory", "pids", "cpu", "cpuacct", "freezer", "unified")
_OWN_INODES: Final = 8
"""Of the writable layer: its folders, the secret and the socket."""
_OVERLAY_INODES: Final = 2
"""More, when the working folder is an overlay: what that keeps for itself."""

DEVICES: Final = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip

Step = tuple[object, ...]
"""One thing to do: its name, and what it takes (paths, numbers, text):

    tmpfs path flags options           mount one
    memory path flags options          the same, never swapped out if the kernel can promise it
    overlay path flags options         mount one
    directory path mode user group     make a folder
    file path                          make an empty file
    node path major minor              make a device that all may use
    take path / give path              hold on to a file / bind it, first taken, first given
    show path path                     bind the first at the second
    show_in path path path             bind the second, looked up in the first, at the third
    show_owned path path first count   bind the first at the second; whose its files are is told
                                       as from a user namespace; without that, where it can't be
    flags path flags                   change those of a mount
    secret path user hexadecimal       make a file that only this user may read
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """A folder of the writable layer."""

    name: str
    target: str
    mode: int


_WRITABLE: Final = (
    _Folder(name="control", target=CONTROL, mode=0o700),
    _Folder(name="tmp", target="/tmp", mode=0o1777),
    _Folder(name="shm", target="/dev/shm", mode=0o1777),
    _Folder(name="var-tmp", target="/var/tmp", mode=0o1777),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """What is to be shown in a sandbox, once the steps are taken."""

    steps: list[Step]
    root: Path
    binds: list[Bind]


def devices(*, rootless: bool) -> Iterator[Step]:
    """The stage, with a sandbox's own devices where root makes them, else the host's.

    Who isn't root can make no devices, only bind those that there are. Nobody in a sandbox can
    change the host's, but locks on them are seen by all.
    """
    if rootless:
        yield from (("take", STAGE / name) for name in DEVICES)
    yield "tmpfs", STAGE, MountFlag.NOSUID, "mode=755,size=64k"
    for name, (major, minor) in DEVICES.items():
        if rootless:
            yield "give", STAGE / name
        else:
            yield "node", STAGE / name, major, minor
    yield _folder(EMPTY)


def staged(spec: SandboxSpec, agent: Path, first_user: int, *, rootless: bool = False) -> Staged:
    """All that differs from one sandbox to the next, on a stage with devices."""
    root = spec.root
    require_folders(root.path)
    place = working_folder.find(root.path.resolve(), root.working_folder)
    steps = [*_bring(root, first_user, rootless=rootless), *_show_image(root, place, first_user)]
    binds = []
    for number, mount in enumerate(root.mounts):
        steps += _show(mount.source, STAGE / str(number))
        programs = not _forbids_programs(mount.source)
        binds.append(Bind(source=STAGE / str(number), target=mount.target, executable=programs))
    steps += _show(agent, STAGE / "agent")
    binds.append(Bind(source=STAGE / "agent", target=AGENT_FOLDER))
    more_steps, more_binds = _writable(spec, first_user, place, rootless=rootless)
    return Staged(steps=steps + more_steps, root=ROOT, binds=binds + more_binds)


def keeps_owners(root: RootFilesystem, first_user: int, *, rootless: bool) -> bool:
    """Whether it is seen whose files an image's are, if `show_owned` can be done where it is tried.

    Without root, files on disk belong to ids of ours, which are those of the first range.
    """
    return root.owners and (not rootless or first_user == 1)


def require_folders(root: Path) -> None:
    """Raise RuntimeFailed unless a root file system has what is to be mounted on."""
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


def overlay_refused(number: int | None, detail: str) -> RuntimeFailed:
    """What it means that an overlay can't be mounted, by the error's number."""
    if number == errno.ENODEV:
        return RuntimeFailed(
            "this kernel has no overlay file system (CONFIG_OVERLAY_FS): modprobe overlay"
        )
    return RuntimeFailed(
        "an image can't be shown by an overlay; it must not lie on two overlays already",
        detail=detail,
    )


def _folder(path: Path, mode: int = 0o755, user: int = 0, group: int = 0) -> Step:
    return "directory", path, mode, user, group


def _bring(root: RootFilesystem, first_user: int, *, rootless: bool) -> Iterator[Step]:
    """Put the image on the stage, for overlays to show."""
    yield _folder(_IMAGE)
    if root.owners and not rootless:
        yield "show_owned", root.path, _IMAGE, first_user, WIDTH
    else:
        yield "show", root.path, _IMAGE


def _show_image(root: RootFilesystem, place: WorkingFolder, first_user: int) -> Iterator[Step]:
    """Put an overlay of the image on the stage, with folders for what an image may lack.

    That is its working folder's place, and /dev/shm's where /dev is no mount of the host's.
    """
    below = STAGE / "below"
    yield _folder(ROOT)
    yield from (_folder(each) for each in (below, below / "dev", below / "dev/shm"))
    if place.missing:
        yield from _folders(below, place.target, first_user)
    keep = MountFlag.NOEXEC if _forbids_programs(root.path) else MountFlag.NONE
    yield "overlay", ROOT, MountFlag.RDONLY | _FLAGS | keep, f"lowerdir={_IMAGE}:{below}"


def _folders(above: Path, path: str, owner: int) -> Iterator[Step]:
    for name in path.strip("/").split("/"):
        above /= name
        yield _folder(above, user=owner, group=owner)


def _show(source: Path, target: Path) -> Iterator[Step]:
    """Put a file, or a folder with inodes of the sandbox's own, on the stage: to be read only."""
    # Here and not only in the bundle: a root file system has no mount options there.
    keep = MountFlag.NOEXEC if _forbids_programs(source) else MountFlag.NONE
    flags = MountFlag.RDONLY | _FLAGS | keep
    if not stat.S_ISDIR(source.stat().st_mode):
        yield "file", target
        yield "show", source, target
        yield "flags", target, flags
        return
    # An overlay of nothing over it, for the sake of its inodes: locks, watches and flushes belong
    # to an inode. Through a bind, all sandboxes and the host would have them in common. Its
    # content, and so the page cache, is still the same for all.
    yield _folder(target)
    yield "show", source, target
    yield "overlay", target, flags, f"lowerdir={target}:{EMPTY}"


def _forbids_programs(source: Path) -> bool:
    return bool(os.statvfs(source).f_flag & os.ST_NOEXEC)


def _writable(
    spec: SandboxSpec, first_user: int, place: WorkingFolder, *, rootless: bool
) -> tuple[list[Step], list[Bind]]:
    inodes = spec.limits.inodes + _OWN_INODES + (0 if place.empty else _OVERLAY_INODES)
    options = f"mode=755,size={spec.limits.disk_bytes},nr_inodes={inodes}"
    steps: list[Step] = [_folder(WRITABLE), ("memory", WRITABLE, _FLAGS, options)]
    binds = []
    for folder in _WRITABLE:
        if _has(spec.root.path, folder.target):
            path = WRITABLE / folder.name
            steps.append(_folder(path, folder.mode, first_user, first_user))
            binds.append(Bind(source=path, target=folder.target, writable=True))
    secret = WRITABLE / "control" / Path(SECRET).name
    steps.append(("secret", secret, first_user, spec.secret.reveal().hex()))
    if place.target not in (bind.target for bind in binds):
        user, group = host_id(first_user, spec.root.user), host_id(first_user, spec.root.group)
        # Redirected: whole folders of the image can be renamed, too. That is root's alone.
        marks = "userxattr" if rootless else "redirect_dir=on"
        steps += _working(place, binds, first_user, (user, group), marks)
        shown = WRITABLE / "working" if place.empty else STAGE / "working"
        binds.append(Bind(source=shown, target=place.target, writable=True))
    return steps, binds


def _working(
    place: WorkingFolder, others: list[Bind], root: int, owner: tuple[int, int], marks: str
) -> Iterator[Step]:
    """The working folder: what the image has there can be changed, in the writable layer alone."""
    for other in others:
        if place.target.startswith(f"{other.target}/"):
            yield from _folders(other.source, place.target.removeprefix(other.target), root)
    path = WRITABLE / "working"
    yield _folder(path, 0o755, *owner)
    if place.empty:
        return
    work, below, shown = WRITABLE / "work", STAGE / "working-below", STAGE / "working"
    yield from (_folder(each) for each in (work, below, shown))
    yield "show_in", _IMAGE, place.target, below
    yield "overlay", shown, _FLAGS, f"lowerdir={below},upperdir={path},workdir={work},{marks}"


def _has(root: Path, target: str) -> bool:
    """Not every image has a /var/tmp of its own; those on other mounts are always there."""
    if target != "/var/tmp":
        return True
    folders = (root / "var", root / "var/tmp")
    return all(folder.is_dir() and not folder.is_symlink() for folder in folders)


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
