"""What `lean` is told about a sandbox: two plans, the first the same for all but for names.

The steps and what they take are those of `agent/lean.c`, which takes them in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from assay.drivers.linux.cgroups import Gift
from assay.drivers.linux.confinement import (
    CAPABILITIES,
    CORE_BYTES,
    HOST_NAME,
    MOUNTS,
    OOM_SCORE,
    READ_ONLY,
    SOCKET,
    masked_paths,
    network_settings,
)
from assay.drivers.linux.devices import folders
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.stage import (
    EMPTY,
    NOTHING,
    OWN_DEVICES,
    STAGE,
    WRITABLE,
    Staged,
    Step,
    devices,
    folder,
    node_steps,
    own_devices,
    text,
    words,
)
from assay.drivers.linux.users import extents

_SEALED: Final = text(MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
_NOWHERE: Final = f"{STAGE}/nothing"
_PROC: Final = f"{STAGE}/its-proc"
_LISTENER: Final = f"{WRITABLE}/control/{Path(SOCKET).name}"
_KEPT: Final = str(sum(1 << number for number in CAPABILITIES.values()))

_FIRST_USER, _IDS = "\1", "\2"
"""What stands in a preparation for what differs from one to the next; no path has it in it."""


class Preparation:
    """Everything that does not depend on what a sandbox is to be of; ends with a wait.

    It differs in names and users alone, so it is made once, with marks in their places.
    """

    def __init__(
        self,
        *,
        gifts: Iterable[Gift],
        entrances: Iterable[str],
        learners: Iterable[str],
        mark: str,
        rootless: bool,
    ) -> None:
        """`gifts` are what of its groups shall be the sandbox's own, `entrances` the files that
        process 1 enters by, and `learners` the folders that the agent is given; where `mark` is in
        them, the id goes."""
        self._mark = mark.encode()
        self._plan = words(_preparation(gifts, entrances, learners, rootless=rootless))

    def of(self, sandbox_id: str, first_user: int) -> bytes:
        """The plan for one sandbox."""
        ids = "".join(f"{here} {there} {count}\n" for here, there, count in extents(first_user))
        plan = self._plan.replace(self._mark, sandbox_id.encode())
        plan = plan.replace(_FIRST_USER.encode(), str(first_user).encode())
        return plan.replace(_IDS.encode(), ids.encode())


def _preparation(
    gifts: Iterable[Gift], entrances: Iterable[str], learners: Iterable[str], *, rootless: bool
) -> Iterator[Step]:
    yield from (("hand", each.path, str(each.mode or 0), _FIRST_USER) for each in gifts)
    yield from (("enter", file) for file in entrances)
    yield ("top",)
    yield "put", "/proc/self/oom_score_adj", str(OOM_SCORE)
    yield ("apart",)
    yield from devices(rootless=rootless)
    yield from own_devices(rootless=rootless)
    yield from _own_processes()
    yield "name", HOST_NAME
    yield ("loopback",)
    yield "core", str(CORE_BYTES)
    yield ("session",)
    yield "input", f"{OWN_DEVICES}/null"
    yield from (("groups", each) for each in learners)
    yield ("wait",)


def _own_processes() -> Iterator[Step]:
    """The sandbox's /proc, without what would tell of the host; its network and its users."""
    proc = next(mount for mount in MOUNTS if mount.target == "/proc")
    # Whoever mounts it counts groups as the host does: the sandbox's first is another there.
    options = [f"gid={_FIRST_USER}" if each == "gid=0" else each for each in proc.options]
    yield folder(_PROC)
    yield "mount", _PROC, proc.kind, text(proc.flags), ",".join(options)
    yield "users", _PROC, _IDS
    for name, value in network_settings().items():
        yield "put", f"{_PROC}/sys/{name.replace('.', '/')}", value
    yield "file", _NOWHERE
    yield "show", NOTHING, _NOWHERE
    yield "flags", _NOWHERE, _SEALED
    yield "cover", EMPTY, _SEALED
    for path in masked_paths():
        yield "show", EMPTY if Path(path).is_dir() else _NOWHERE, _within(path)
    for path in READ_ONLY:
        yield "cover", _within(path), _SEALED


def _within(path: str) -> str:
    return f"{_PROC}{path.removeprefix('/proc')}"


def completion(
    shown: Staged,
    *,
    first_user: int,
    command: Sequence[str],
    wide_filter: bytes | None = None,
) -> Iterator[Step]:
    """What is the sandbox's own; ends with its agent. `wide_filter` is for one with devices of the
    host."""
    yield from shown.steps
    targets = [node.target for node in shown.nodes]
    yield from (folder(f"{OWN_DEVICES}{each.removeprefix('/dev')}") for each in folders(targets))
    yield from node_steps(
        shown.nodes, [f"{OWN_DEVICES}{each.removeprefix('/dev')}" for each in targets]
    )
    yield "listen", _LISTENER, str(first_user)
    yield "root", shown.root
    yield "move", _PROC, "/proc"
    yield "move", OWN_DEVICES, "/dev"
    for bind in shown.binds:  # which have on the stage the flags that they shall have
        yield "bind", bind.source, bind.target
    yield ("pivot",)
    yield ("become",)
    yield "capabilities", _KEPT
    yield ("filter",) if wide_filter is None else ("filter_of", wide_filter.hex())
    yield "run", *command
