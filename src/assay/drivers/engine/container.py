"""What an engine is told about one sandbox: a container's configuration, as a function of data."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from assay.drivers.linux import seccomp
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    AGENT_MEMORY,
    AGENT_PROCESSES,
    CAPABILITIES,
    CORE_BYTES,
    GROUPS,
    HOST_NAME,
    OOM_SCORE,
    agent_command,
    machine,
    network_settings,
)

STATE: Final = "assay.state"
"""The label that says whose a container is: a hash of the driver's folder."""
_LOG: Final = {"Type": "json-file", "Config": {"max-size": "64k", "max-file": "1"}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that differs from one container to the next."""

    image: str
    runtime: str
    """"": the engine's default."""
    parent: str
    """The control group to put the container's in; "": wherever the engine does."""
    filter: str
    """Of system calls: a profile, or where one is."""
    unclaimed_seconds: int
    labels: Mapping[str, str]


def configuration(plan: Plan) -> dict[str, Any]:
    """The body of a request to create it."""
    command = agent_command(plan.unclaimed_seconds, "--cgroup", GROUPS)
    return {
        "Image": plan.image,
        "Hostname": HOST_NAME,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "Env": list(AGENT_ENVIRONMENT),
        "Labels": dict(plan.labels),
        # An engine that is stopped need not wait for the agent, which hears nothing else.
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "HostConfig": _confinement(plan),
    }


def _confinement(plan: Plan) -> dict[str, Any]:
    return {
        **({"Runtime": plan.runtime} if plan.runtime else {}),
        **({"CgroupParent": plan.parent} if plan.parent else {}),
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "UsernsMode": "host",
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges", f"seccomp={plan.filter}"],
        "Sysctls": network_settings(),
        "Memory": AGENT_MEMORY,
        "MemorySwap": AGENT_MEMORY,
        "PidsLimit": AGENT_PROCESSES,
        "OomScoreAdj": OOM_SCORE,
        "Ulimits": [_ulimit(name, most) for name, most in _ulimits().items()],
        "LogConfig": _LOG,
        "RestartPolicy": {"Name": "no"},
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


def _ulimit(name: str, most: int) -> dict[str, str | int]:
    # Podman 4 takes one for the other, so both are the same.
    return {"Name": name, "Soft": most, "Hard": most}


@cache
def profile() -> str:
    """The filter of system calls that every sandbox has."""
    return json.dumps(seccomp.profile(machine()))
