"""Finds out which control groups this host has, and picks the code for them.

Root has all of them. An ordinary user has what was delegated to them:

    version 2   the highest group above this process that is the user's (systemd's user@UID.service,
                or a service with Delegate=yes); in it, as for root, assay/<id>
    version 1   the folder assay-UID of each hierarchy, which the administrator makes
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import DriverUnavailable
from assay.driver.port import Problem
from assay.drivers.linux.cgroups import PARENT, Groups
from assay.drivers.linux.cgroups_none import NoGroups
from assay.drivers.linux.cgroups_v1 import GroupsV1, Hierarchy
from assay.drivers.linux.cgroups_v2 import GroupsV2
from assay.drivers.linux.delegation import make_room
from assay.drivers.linux.users import Ids

NEEDED: Final = ("memory", "pids", "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The hierarchies of version 1 that this process is in, and where version 2 is."""

    hierarchies: tuple[Hierarchy, ...]
    unified: Path | None
    own: str = "/"
    """The group of version 2 that this process is in."""
    delegates: bool = False
    """Whether version 2 is mounted with `nsdelegate`."""

    @property
    def controllers(self) -> frozenset[str]:
        """Of version 1."""
        return frozenset(
            name
            for hierarchy in self.hierarchies
            if not hierarchy.named
            for name in hierarchy.controllers.split(",")
        )

    @property
    def is_open(self) -> bool:
        """Whether a sandbox's agent can move processes in the tree of version 2 on a hybrid host.

        Runtimes make the sandbox's namespace where we are. With `nsdelegate`, nothing can be moved
        out of that from inside.
        """
        return not self.delegates or self.own == "/"

    @property
    def name(self) -> str:
        """v1, v2, or hybrid: both are mounted."""
        if not self.controllers:
            return "v2" if self.unified else "none"
        return "hybrid" if self.unified else "v1"


def read_layout() -> Layout:
    """The layout of this host."""
    return parse_layout(
        Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    )


def parse_layout(mountinfo: str, own_groups: str) -> Layout:
    """The layout, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    mounted: dict[frozenset[str], Path] = {}
    unified: Path | None = None
    delegates = False
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        place = Path(_unescape(before.split()[4]))
        kind, _, options = after.split()[:3]
        if kind == "cgroup2":
            unified = place
            delegates = "nsdelegate" in options.split(",")
        elif kind == "cgroup":
            mounted[frozenset(options.split(","))] = place
    hierarchies, own = [], "/"
    for line in own_groups.splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            own = group
            continue
        found = [
            path for names, path in mounted.items() if names.issuperset(controllers.split(","))
        ]
        if found:
            hierarchies.append(Hierarchy(controllers=controllers, mounted=found[0], own=group))
    return Layout(hierarchies=tuple(hierarchies), unified=unified, own=own, delegates=delegates)


def choose_groups(layout: Layout, ids: Ids | None = None) -> Groups:
    """The code for a layout and who we are (None: root).

    Raises DriverUnavailable when it can't do what is needed.
    """
    if ids is not None and ids.rootless:
        groups = _delegated(layout, ids.user) or NoGroups(layout.hierarchies)
        groups.enter()
        return groups
    found = problems(layout)
    if found:
        raise DriverUnavailable(f"{found[0].summary}; {found[0].remedy}")
    if layout.controllers:
        return GroupsV1(layout.hierarchies, layout.unified if layout.is_open else None)
    assert layout.unified is not None
    return GroupsV2(layout.unified, make_room(layout.unified, layout.own, PARENT))


def weaker(layout: Layout, ids: Ids) -> list[Problem]:
    """What an ordinary user goes without who has no control groups, and how to get them."""
    if not ids.rootless or _delegated(layout, ids.user) is not None:
        return []
    summary = (
        "no control groups: memory is limited for each process alone, the CPU share not at all"
    )
    return [Problem(summary=summary, remedy=_delegation(layout, ids.user))]


def _delegation(layout: Layout, user: int) -> str:
    if not layout.controllers:
        return "systemd-run --user --scope --property=Delegate=yes assay …"
    return (
        f"for each in {' '.join((*NEEDED, 'cpuacct'))}; do "
        f"mkdir -p /sys/fs/cgroup/$each/{PARENT}-{user}; "
        f"chown -R {user} /sys/fs/cgroup/$each/{PARENT}-{user}; done"
    )


def _delegated(layout: Layout, user: int) -> Groups | None:
    """What an ordinary user may use, or None: it takes all the controllers that are needed."""
    if not layout.controllers:
        group = delegated_of_version_2(layout)
        if layout.unified is None or group is None:
            return None
        return GroupsV2(layout.unified, group, is_own=f"/{group}" == f"{layout.own}/{PARENT}")
    parent = f"{PARENT}-{user}"
    given = {
        name
        for hierarchy in layout.hierarchies
        for name in hierarchy.controllers.split(",")
        if _is_given(hierarchy.mounted / parent)
    }
    if not given.issuperset((*NEEDED, "cpuacct")):
        return None
    return GroupsV1(layout.hierarchies, None, parent, frozenset(given))


def delegated_of_version_2(layout: Layout) -> str | None:
    """The highest group that is ours to make others in and has the controllers, or None."""
    if layout.unified is None:
        return None
    path = Path(layout.own.lstrip("/"))
    for group in (*reversed(path.parents[:-1]), path):
        folder = layout.unified / group
        if _is_given(folder) and not set(NEEDED) - set(_offered(folder)):
            return f"{group}/{PARENT}"
    return None


def _is_given(folder: Path) -> bool:
    """Whether groups can be made in a group, and processes moved into it."""
    return all(os.access(path, os.W_OK) for path in (folder, folder / "cgroup.procs"))


def _offered(folder: Path) -> list[str]:
    try:
        return (folder / "cgroup.controllers").read_text().split()
    except OSError:
        return []


def problems(layout: Layout) -> list[Problem]:
    """What sandboxes need of control groups and this host does not offer."""
    if layout.controllers:
        missing = [name for name in (*NEEDED, "cpuacct") if name not in layout.controllers]
        return [
            Problem(
                summary=f"the control group {name} is not mounted",
                remedy=f"mkdir -p /sys/fs/cgroup/{name} && "
                f"mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}",
            )
            for name in missing
        ]
    if layout.unified is None:
        remedy = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        return [Problem(summary="no control groups are mounted", remedy=remedy)]
    offered = (layout.unified / "cgroup.controllers").read_text().split()
    return [
        Problem(
            summary=f"the kernel does not offer the control group {name} here",
            remedy=f"start Linux without cgroup_disable={name}, and delegate it to this container",
        )
        for name in NEEDED
        if name not in offered
    ]


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
