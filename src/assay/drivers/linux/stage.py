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
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeFailed
from assay.driver.port import Mount, RootFilesystem, SandboxSpec
from assay.drivers.linux import places, working_folder
from assay.drivers.linux.confinement import AGENT_FOLDER, CONTROL, MOUNTS, SECRET, Bind
from assay.drivers.linux.devices import Node, look_up
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.users import WIDTH, host_id
from assay.drivers.linux.working_folder import WorkingFolder

STAGE: Final = "/dev"
ROOT: Final = f"{STAGE}/root"
WRITABLE: Final = f"{STAGE}/writable"
EMPTY: Final = f"{STAGE}/empty"
"""An overlay that can't be written needs two layers."""
NOTHING: Final = f"{STAGE}/null"
GROUPS: Final = f"{STAGE}/groups"
"""Where the agent's control groups are shown, one over the other, until it has them open."""
_IMAGE: Final = f"{STAGE}/image"
_BELOW: Final = f"{STAGE}/below"
_AGENT: Final = f"{STAGE}/agent"
OWN_DEVICES: Final = f"{STAGE}/its-dev"
"""Where `own_devices` makes them."""
_LINKS: Final = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip
_FOLDERS: Final = (
    EMPTY, _IMAGE, ROOT, _BELOW, f"{_BELOW}/dev", f"{_BELOW}/dev/shm", _AGENT, WRITABLE, GROUPS,
)  # fmt: skip
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

Step = tuple[str, ...]
"""One thing to do: its name, and what it takes (paths, numbers, text), all of it as text:

    tmpfs path flags options           mount one
    memory path flags options          the same, never swapped out if the kernel can promise it
    overlay path flags options         mount one
    directory path mode user group     make a folder
    file path                          make an empty file
    node path major minor              make a device that all may use
    reveal path path                   bind a device of the host's /dev, by its path in there
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
    root: str
    binds: list[Bind]
    nodes: tuple[Node, ...] = ()
    """Devices of the host, which are for `node_steps` to put where they shall be."""


def devices(*, rootless: bool, wanted: Collection[str] = DEVICES) -> Iterator[Step]:
    """The stage, with folders for what is the same for all, and with a sandbox's own devices where
    root makes them (of those only the `wanted` ones), else the host's.

    Who isn't root can make no devices, only bind those that there are. Nobody in a sandbox can
    change the host's, but locks on them are seen by all.
    """
    if rootless:
        yield from (("take", f"{STAGE}/{name}") for name in DEVICES)
    yield "tmpfs", STAGE, text(MountFlag.NOSUID), "mode=755,size=64k"
    for name, (major, minor) in DEVICES.items():
        if rootless:
            yield "give", f"{STAGE}/{name}"
        elif name in wanted:
            yield "node", f"{STAGE}/{name}", f"{major}", f"{minor}"
    yield from map(folder, _FOLDERS)


def own_devices(*, rootless: bool) -> Iterator[Step]:
    """The sandbox's /dev, with devices as on the stage."""
    mounts = {mount.target: mount for mount in MOUNTS}
    dev, terminals = mounts["/dev"], mounts["/dev/pts"]
    yield folder(OWN_DEVICES)
    yield "mount", OWN_DEVICES, dev.kind, text(dev.flags), ",".join(dev.options)
    yield folder(f"{OWN_DEVICES}/pts")
    yield folder(f"{OWN_DEVICES}/shm")
    for name, (major, minor) in DEVICES.items():
        if rootless:
            yield "file", f"{OWN_DEVICES}/{name}"
            yield "show", f"{STAGE}/{name}", f"{OWN_DEVICES}/{name}"
        else:
            yield "node", f"{OWN_DEVICES}/{name}", f"{major}", f"{minor}"
    for name, target in _LINKS.items():
        yield "link", f"{OWN_DEVICES}/{name}", target
    options = ",".join(terminals.options)
    yield "mount", f"{OWN_DEVICES}/pts", terminals.kind, text(terminals.flags), options


def words(steps: Iterable[Step]) -> bytes:
    """The plan as it is sent. Raises ValueError for a word with a zero byte."""
    texts = list(chain.from_iterable(steps))
    plan = "\0".join(texts)
    if plan.count("\0") != len(texts) - 1:
        raise ValueError("a path or option has a zero byte")
    return plan.encode(errors="surrogateescape") + b"\0"


def text(flags: MountFlag) -> str:
    """Flags as a step has them."""
    return str(int(flags))


def folder(path: str, mode: int = 0o755, user: int = 0, group: int = 0) -> Step:
    """The step that makes one."""
    return "directory", path, str(mode), str(user), str(group)


def staged(spec: SandboxSpec, agent: Path, first_user: int, *, rootless: bool = False) -> Staged:
    """All that differs from one sandbox to the next, on a stage with devices."""
    root, host = spec.root, look_up(spec.devices, rootless=rootless)
    mounts = (*root.mounts, *places.missing_of(host.mounts, root))
    look = _look(root.path, mounts, root.working_folder, agent, int(time.monotonic()))
    steps = [*_bring(spec.root, first_user, rootless=rootless)]
    made = places.to_make(root, mounts[len(root.mounts) :])
    steps += _show_image(look, first_user, [*made, *places.of_folders(root)])
    binds = []
    for number, (source, shown) in enumerate(look.mounts):
        place = f"{STAGE}/{number}"
        steps += _show(source, place)
        binds.append(Bind(source=place, target=shown, executable=not source.forbids_programs))
    # It is to run, though a state folder may be where nothing else is (Debian's /run is).
    steps += _cover(replace(look.agent, forbids_programs=False), _AGENT)
    binds.append(Bind(source=_AGENT, target=AGENT_FOLDER))
    more_steps, more_binds = _writable(spec, look, first_user, rootless=rootless)
    return Staged(steps=steps + more_steps, root=ROOT, binds=binds + more_binds, nodes=host.nodes)


def node_steps(nodes: Sequence[Node], paths: Sequence[str]) -> Iterator[Step]:
    """Put each of the devices at its path."""
    for node, path in zip(nodes, paths, strict=True):
        if node.bound:
            yield "file", path
            yield "reveal", node.path, path
        else:
            yield "node", path, f"{node.major}", f"{node.minor}"


def node_places(nodes: Sequence[Node]) -> list[str]:
    """Where on the stage they are put for others to bind."""
    return [f"{STAGE}/device-{number}" for number in range(len(nodes))]


def node_binds(nodes: Sequence[Node]) -> list[Bind]:
    """What shows them in the sandbox from there."""
    return [
        Bind(source=place, target=node.target, writable=True, device=True)
        for node, place in zip(nodes, node_places(nodes), strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A file or folder of the host."""

    path: str
    is_folder: bool
    is_empty: bool
    forbids_programs: bool

    @classmethod
    def at(cls, path: Path) -> _Source:
        forbids = bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
        is_folder = stat.S_ISDIR(path.stat().st_mode)
        is_empty = is_folder and next(path.iterdir(), None) is None
        return cls(path=str(path), is_folder=is_folder, is_empty=is_empty, forbids_programs=forbids)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What a root file system is found to be like."""

    image: _Source
    mounts: tuple[tuple[_Source, str], ...]
    agent: _Source
    place: WorkingFolder
    has_var_tmp: bool


@lru_cache(maxsize=64)
def _look(root: Path, mounts: Sequence[Mount], working: str, agent: Path, second: int) -> _Look:
    """Look at it, once in a `second`: it takes some thirty system calls. Raises RuntimeFailed."""
    require_folders(root)
    return _Look(
        image=_Source.at(root),
        mounts=tuple((_Source.at(mount.source), mount.target) for mount in mounts),
        agent=_Source.at(agent),
        place=working_folder.find(root.resolve(), working),
        has_var_tmp=_has_var_tmp(root),
    )


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
        path = root / name
        if path.is_symlink() or not path.is_dir():
            raise RuntimeFailed(
                f"the root file system {root} lacks the folder {name}; make it: mkdir {path}"
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


def _bring(root: RootFilesystem, first_user: int, *, rootless: bool) -> Iterator[Step]:
    """Put the image on the stage, for overlays to show."""
    if root.owners and not rootless:
        yield "show_owned", str(root.path), _IMAGE, str(first_user), str(WIDTH)
    else:
        yield "show", str(root.path), _IMAGE


def _show_image(
    look: _Look, first_user: int, places_to_make: Sequence[places.Place]
) -> Iterator[Step]:
    """Put an overlay of the image on the stage, with folders for what an image may lack.

    That is its working folder's place, /dev/shm's where /dev is no mount of the host's, and places
    for what belongs to devices.
    """
    if look.place.missing:
        yield from _folders(_BELOW, look.place.target, first_user)
    for place in places_to_make:
        if f"{look.place.target}/".startswith(f"{place.path}/") and look.place.missing:
            continue
        path = f"{_BELOW}{place.path}"
        yield folder(path) if place.is_folder else ("file", path)
    flags = text(_read_only(look.image))
    yield "overlay", ROOT, flags, f"lowerdir={_IMAGE}:{_BELOW}"


def _folders(above: str, path: str, owner: int) -> Iterator[Step]:
    for name in path.strip("/").split("/"):
        above = f"{above}/{name}"
        yield folder(above, user=owner, group=owner)


def _show(source: _Source, target: str) -> Iterator[Step]:
    """Put a file, or a folder with inodes of the sandbox's own, on the stage: to be read only."""
    if source.is_empty:  # the stage's own is as good, and quicker to make and to leave
        yield folder(target)
        yield "show", target, target
        yield "flags", target, text(_read_only(source))
    elif source.is_folder:
        yield folder(target)
        yield from _cover(source, target)
    else:
        yield "file", target
        yield "show", source.path, target
        # Here and not only in the bundle: a root file system has no mount options there.
        yield "flags", target, text(_read_only(source))


def _cover(source: _Source, target: str) -> Iterator[Step]:
    """Show a folder at one that is there, by an overlay of nothing over it.

    That is for the sake of its inodes: locks, watches and flushes belong to an inode. Through a
    bind, all sandboxes and the host would have them in common. Its content, and so the page
    cache, is still the same for all.
    """
    yield "show", source.path, target
    yield "overlay", target, text(_read_only(source)), f"lowerdir={target}:{EMPTY}"


def _read_only(source: _Source) -> MountFlag:
    keep = MountFlag.NOEXEC if source.forbids_programs else MountFlag.NONE
    return MountFlag.RDONLY | _FLAGS | keep


def _writable(
    spec: SandboxSpec, look: _Look, first_user: int, *, rootless: bool
) -> tuple[list[Step], list[Bind]]:
    place = look.place
    more = len(spec.root.folders)
    inodes = spec.limits.inodes + _OWN_INODES + more + (0 if place.empty else _OVERLAY_INODES)
    options = f"mode=755,size={spec.limits.disk_bytes},nr_inodes={inodes}"
    steps: list[Step] = [("memory", WRITABLE, text(_FLAGS), options)]
    binds = []
    for each in _WRITABLE:
        # Not every image has a /var/tmp of its own; those on other mounts are always there.
        if look.has_var_tmp or each.target != "/var/tmp":
            path = f"{WRITABLE}/{each.name}"
            steps.append(folder(path, each.mode, first_user, first_user))
            binds.append(Bind(source=path, target=each.target, writable=True))
    secret = f"{WRITABLE}/control/{Path(SECRET).name}"
    steps.append(("secret", secret, str(first_user), spec.secret.reveal().hex()))
    user, group = host_id(first_user, spec.root.user), host_id(first_user, spec.root.group)
    for number, target in enumerate(spec.root.folders):
        path = f"{WRITABLE}/more-{number}"
        steps.append(folder(path, 0o755, user, group))
        binds.append(Bind(source=path, target=target, writable=True))
    if place.target not in (bind.target for bind in binds):
        # Redirected: whole folders of the image can be renamed, too. That is root's alone.
        marks = "userxattr" if rootless else "redirect_dir=on"
        steps += _working(place, binds, first_user, (user, group), marks)
        shown = f"{WRITABLE}/working" if place.empty else f"{STAGE}/working"
        binds.append(Bind(source=shown, target=place.target, writable=True))
    return steps, binds


def _working(
    place: WorkingFolder, others: list[Bind], root: int, owner: tuple[int, int], marks: str
) -> Iterator[Step]:
    """The working folder: what the image has there can be changed, in the writable layer alone."""
    for other in others:
        if place.target.startswith(f"{other.target}/"):
            yield from _folders(other.source, place.target.removeprefix(other.target), root)
    path = f"{WRITABLE}/working"
    yield folder(path, 0o755, *owner)
    if place.empty:
        return
    work, below, shown = f"{WRITABLE}/work", f"{STAGE}/working-below", f"{STAGE}/working"
    yield from (folder(each) for each in (work, below, shown))
    yield "show_in", _IMAGE, place.target, below
    layers = f"lowerdir={below},upperdir={path},workdir={work},{marks}"
    yield "overlay", shown, text(_FLAGS), layers


def _has_var_tmp(root: Path) -> bool:
    folders = (root / "var", root / "var/tmp")
    return all(each.is_dir() and not each.is_symlink() for each in folders)


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
