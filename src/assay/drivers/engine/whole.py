"""What an engine is told about a container that is a sandbox all by itself, as a function of data.

What it is made of is the same for all who make such ones (`linux/container.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.domain.limits import SandboxLimits
from assay.driver.port import SandboxSpec
from assay.drivers.engine.container import body
from assay.drivers.engine.kind import Kind
from assay.drivers.linux.confinement import CAPABILITIES, NETWORK, READ_ONLY
from assay.drivers.linux.container import MASKED, Place, agent_of_container


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """All that differs from one container to the next."""

    image: str
    runtime: str
    """"": the engine's default."""
    kind: Kind
    spec: SandboxSpec
    machine: str
    """The name of the architecture of the engine's processors."""
    places: Sequence[Place]
    masks_by_option: bool
    """Whether the engine wants to hear what to mask as a security option."""
    agent_filters: bool
    """Whether it can't be told the filter of system calls, so that the agent loads it."""
    labels: Mapping[str, str]


def whole(plan: Whole) -> dict[str, Any]:
    """The body of a request to create it."""
    confinement = _confinement(plan, plan.kind.room(plan.spec.limits))
    return body(plan.image, _command(plan), plan.labels, confinement)


def _command(plan: Whole) -> list[str]:
    spec = plan.spec
    return agent_of_container(
        spec,
        socket=plan.kind.socket,
        # A user's processes are counted in a kernel: elsewhere, all sandboxes' together.
        processes=spec.limits.processes if plan.kind.own_kernel else None,
        filters=plan.agent_filters,
    )


def _confinement(plan: Whole, room: SandboxLimits) -> dict[str, Any]:
    masked = list(MASKED) if plan.kind.masks else []
    return {
        **({"Runtime": plan.runtime} if plan.runtime else {}),
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": _security(plan, masked),
        "MaskedPaths": masked,
        "ReadonlyPaths": list(READ_ONLY),
        "Sysctls": {} if plan.kind.own_kernel else dict(NETWORK),
        "Memory": room.memory_bytes,
        "MemorySwap": room.memory_bytes,
        "PidsLimit": room.processes,
        "NanoCpus": round(plan.spec.limits.cpus * 1e9),
        "Mounts": [_mount(place, plan.labels) for place in plan.places],
    }


def _security(plan: Whole, masked: list[str]) -> list[str]:
    options = ["no-new-privileges"]
    if not plan.agent_filters:
        options.append(f"seccomp={json.dumps(plan.kind.filter(plan.machine))}")
    if plan.masks_by_option and masked:
        options.append(f"mask={':'.join(masked)}")
    return options


def _mount(place: Place, labels: Mapping[str, str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": "volume", "Target": place.target}
    if place.closed:
        mount["ReadOnly"] = True
    if place.name:
        return {**mount, "Source": place.name}
    options = {"NoCopy": place.empty, "Labels": dict(labels), "DriverConfig": place.driver}
    return {**mount, "VolumeOptions": options}
