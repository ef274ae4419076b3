"""What LXC is told about one sandbox: its configuration, as a function of data.

Control groups are not in it, nor system calls: a sandbox is started in its groups, which LXC does
not see, and the agent loads the filter (decisions 0074 and 0075).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    CAPABILITIES,
    CORE_BYTES,
    HOST_NAME,
    MOUNTS,
    OOM_SCORE,
    READ_ONLY,
    Bind,
    Mount,
    masked_paths,
)
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.stage import DEVICES, EMPTY, NOTHING, STAGE
from assay.drivers.linux.users import extents

LXC: Final = f"{STAGE}/lxc"
"""An empty folder on the stage, which a sandbox's root may enter: LXC's path for containers, and
where it puts a root together."""

_FLAGS: Final = {
    MountFlag.NOSUID: "nosuid", MountFlag.NOEXEC: "noexec", MountFlag.NODEV: "nodev",
}  # fmt: skip
_SEALED: Final = "bind,ro,nosuid,nodev,noexec"
_ESCAPED: Final = str.maketrans({each: f"\\{ord(each):03o}" for each in " \t\n\\"})
"""As in fstab."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that differs from one sandbox to the next."""

    root: str
    binds: Sequence[Bind]
    first_user: int
    command: Sequence[str]
    """Process 1; words without spaces."""
    monitored: bool = False
    """Whether LXC's monitor stays, and the sandbox ends when that does."""


def configuration(plan: Plan) -> str:
    """The content of its file."""
    return "".join(f"lxc.{name} = {value}\n" for name, value in _settings(plan))


def _settings(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "uts.name", HOST_NAME
    yield "rootfs.path", f"dir:{plan.root}"
    yield "rootfs.mount", LXC
    yield "rootfs.options", "ro"
    for inside, outside, count in extents(plan.first_user):
        yield from (("idmap", f"{kind} {inside} {outside} {count}") for kind in "ug")
    if not plan.monitored:
        yield "monitor.signal.pdeath", "0"
    yield from (("net.0.type", "empty"), ("net.0.flags", "up"))  # which is the loopback
    yield from (("mount.entry", entry) for entry in _mounts(plan.binds))
    # No devices, terminals or console of LXC's.
    yield from (("autodev", "0"), ("tty.max", "0"), ("pty.max", "0"), ("console.path", "none"))
    yield "cap.keep", " ".join(CAPABILITIES).lower()
    yield "no_new_privs", "1"
    yield "prlimit.core", str(CORE_BYTES)
    yield "proc.oom_score_adj", str(OOM_SCORE)
    yield from (("environment", each) for each in AGENT_ENVIRONMENT)
    yield "init.cmd", " ".join(plan.command)


def _mounts(binds: Sequence[Bind]) -> Iterator[str]:
    yield from map(_mount, MOUNTS)
    for name in DEVICES:
        yield _entry(f"{STAGE}/{name}", f"/dev/{name}", "bind,nosuid,noexec,create=file")
    yield _entry("dev/pts/ptmx", "/dev/ptmx", "bind,nosuid,noexec,relative,create=file")
    # LXC unmounts what is there when it has no terminals of its own: once.
    yield _entry("dev/pts", "/dev/pts", "bind,nosuid,noexec,relative")
    yield from map(_bind, binds)
    for path in masked_paths():
        yield _entry(EMPTY if Path(path).is_dir() else NOTHING, path, _SEALED)
    for path in READ_ONLY:
        yield _entry(path.lstrip("/"), path, f"{_SEALED},relative")


def _mount(mount: Mount) -> str:
    flags = [word for flag, word in _FLAGS.items() if flag in mount.flags]
    options = ",".join([*flags, *mount.options, "create=dir"])
    return _entry(mount.kind, mount.target, options, mount.kind)


def _bind(bind: Bind) -> str:
    options = ["bind", "nosuid"] if bind.device else ["bind", "nosuid", "nodev"]
    options.append("rw" if bind.writable else "ro")
    if not bind.executable:
        options.append("noexec")
    if bind.target.startswith("/dev/"):  # which is of the sandbox's own, and empty
        options.append("create=file" if bind.device else "create=dir")
    return _entry(bind.source, bind.target, ",".join(options))


def _entry(source: str, target: str, options: str, kind: str = "none") -> str:
    """A line of fstab; a target is a path below the root."""
    words = (source, target.lstrip("/"), kind, options, "0", "0")
    return " ".join(word.translate(_ESCAPED) for word in words)
