"""What an engine is told about one sandbox: a container's configuration, as a function of data."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from assay.drivers.engine.seed import COMMAND
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    AGENT_MEMORY,
    AGENT_PROCESSES,
    CORE_BYTES,
    HOST_NAME,
    OOM_SCORE,
    network_settings,
)
from assay.drivers.linux.devices import Node

STATE: Final = "assay.state"
"""The label that says whose a container is: a hash of the driver's folder."""
OPENS_ALL: Final = "DAC_OVERRIDE"
"""Its root opens, in its sandbox's folders, the user namespace in which it is to have others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that differs from one container to the next."""

    image: str
    runtime: str
    """"": the engine's default."""
    parent: str
    """The control group to put the container's in; "": wherever the engine does."""
    devices: Sequence[Node]
    """Of the host. What the engine makes of them is covered; but its group lets them through."""
    labels: Mapping[str, str]


def configuration(plan: Plan) -> dict[str, Any]:
    """The body of a request to create it."""
    return body(plan.image, COMMAND, plan.labels, _confinement(plan))


def body(
    image: str, command: Sequence[str], labels: Mapping[str, str], confinement: Mapping[str, Any]
) -> dict[str, Any]:
    """What all of ours have in common, whoever furnishes them."""
    return {
        "Image": image,
        "Hostname": HOST_NAME,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": list(command[:1]),
        "Cmd": list(command[1:]),
        "Env": list(AGENT_ENVIRONMENT),
        "Labels": dict(labels),
        # An engine that is stopped need not wait for the agent, which hears nothing else.
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "HostConfig": {**_ALONE, **confinement},
    }


_ALONE: Final = {
    "CgroupnsMode": "private",
    "IpcMode": "private",
    "UsernsMode": "host",
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "OomScoreAdj": OOM_SCORE,
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}},
    "RestartPolicy": {"Name": "no"},
}


def _confinement(plan: Plan) -> dict[str, Any]:
    """It enters a user namespace of its own, which no engine can give it; and loads the filter of
    system calls after that.
    """
    return {
        **({"Runtime": plan.runtime} if plan.runtime else {}),
        **({"CgroupParent": plan.parent} if plan.parent else {}),
        "CapAdd": [OPENS_ALL],
        "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
        "Sysctls": network_settings(),
        "Memory": AGENT_MEMORY,
        "MemorySwap": AGENT_MEMORY,
        "PidsLimit": AGENT_PROCESSES,
        "Devices": list(map(_device, plan.devices)),
        "Ulimits": [_ulimit(name, most) for name, most in _ulimits().items()],
    }


@cache
def _ulimits() -> dict[str, int]:
    """Core dumps, and what engines would raise by themselves, which not every root may.

    Of processes, as many as this machine has numbers for: a user is not one sandbox's alone.
    """
    numbers = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    return {
        "core": CORE_BYTES,
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "nproc": numbers if processes == resource.RLIM_INFINITY else min(processes, numbers),
    }


def _device(node: Node) -> dict[str, str]:
    # Podman takes no notice of rules without one (DeviceCgroupRules).
    return {
        "PathOnHost": f"/dev/{node.path}",
        "PathInContainer": node.target,
        "CgroupPermissions": "rw",
    }


def _ulimit(name: str, most: int) -> dict[str, str | int]:
    # Podman 4 takes one for the other, so both are the same.
    return {"Name": name, "Soft": most, "Hard": most}
