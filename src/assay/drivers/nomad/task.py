"""What the task drivers of Nomad's clients are told about a sandbox, each in its own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from assay.domain.limits import MIB
from assay.driver.port import SandboxSpec
from assay.drivers.linux.confinement import (
    CAPABILITIES,
    CORE_BYTES,
    HOST_NAME,
    NETWORK,
)
from assay.drivers.linux.container import MASKED, Place, agent_of_container, room
from assay.drivers.nomad.options import DOCKER, PODMAN, Options

_FOLDERS: Final = ("/alloc", "/local", "/secrets")
"""Of a client's disk, which Nomad shows in every task."""
_PAGE: Final = 4096
_ULIMITS: Final = {"core": CORE_BYTES, "nofile": 4096, "nproc": 32768}
"""Podman's, which asks for more of what is not named here than some machines let it have. All
sandboxes of a client count as one user's for `nproc`; a container's own limit is of its group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One sandbox."""

    sandbox_id: str
    image: str
    spec: SandboxSpec
    places: Sequence[Place]


def mebibytes(spec: SandboxSpec) -> int:
    """The limit of a container's memory, rounded up."""
    return -(-room(spec.limits).memory_bytes // MIB)


def _docker(options: Options, wanted: Wanted) -> dict[str, Any]:
    return {
        **_any(wanted),
        **({"runtime": options.runtime} if options.runtime else {}),
        "cgroupns": "private",
        "security_opt": ["no-new-privileges"],
        # More than what the scheduler counts, which sandboxes that wait don't need.
        "memory_hard_limit": mebibytes(wanted.spec),
        "sysctl": [NETWORK],
        "ulimit": [{"core": f"{CORE_BYTES}:{CORE_BYTES}"}],
        "mount": [_volume(place) for place in wanted.places],
    }


def _any(wanted: Wanted, owners: Sequence[tuple[str, int, int]] = ()) -> dict[str, Any]:
    """What both have the same words for."""
    agent = agent_of_container(wanted.spec, filters=True, closed=_FOLDERS, owners=owners)
    return {
        "image": wanted.image,
        "entrypoint": agent[:1],
        "args": agent[1:],
        "hostname": HOST_NAME,
        "network_mode": "none",
        "readonly_rootfs": True,
        "cap_drop": ["all"],
        "cap_add": [name.lower() for name in CAPABILITIES],
        "pids_limit": room(wanted.spec.limits).processes,
    }


def _volume(place: Place) -> dict[str, Any]:
    driver = place.driver
    return {
        "type": "volume",
        "target": place.target,
        "volume_options": [{
            "no_copy": place.empty,
            "driver_config": [{"name": driver["Name"], "options": [driver["Options"]]}],
        }],
    }  # fmt: skip


def _podman(options: Options, wanted: Wanted) -> dict[str, Any]:
    limit = f"{mebibytes(wanted.spec)}m"
    places = [place for place in wanted.places if not place.terminals]
    # Its tmpfs begin as root's, whatever they are asked to be.
    owners = [(each.target, each.user, each.group) for each in places if each.user or each.group]
    return {
        **_any(wanted, owners),
        "security_opt": ["no-new-privileges", f"mask={':'.join(MASKED)}"],
        "memory_swap": limit,
        "sysctl": [dict(NETWORK)],
        "ulimit": [{name: f"{most}:{most}" for name, most in _ULIMITS.items()}],
        "tmpfs": [_tmpfs(place) for place in places],
    }


def _tmpfs(place: Place) -> str:
    copied = "notmpcopyup" if place.empty else "tmpcopyup"
    shut = ["ro"] if place.closed else []
    options = (
        f"size={place.pages * _PAGE // 1024}k", f"mode={place.mode:o}", "nosuid", "nodev", copied,
    )  # fmt: skip
    return f"{place.target}:{','.join([*options, *shut])}"


CONFIGURED: Final[Mapping[str, Callable[[Options, Wanted], dict[str, Any]]]] = MappingProxyType(
    {DOCKER: _docker, PODMAN: _podman}
)
"""The settings of a task, for each task driver that is used."""
