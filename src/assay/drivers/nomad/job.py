"""What Nomad is told about sandboxes, as functions of data.

A batch of them that are wanted at the same time is one job, each a group of its own with one task.
So one request, one evaluation and one plan make all of them; the job goes with the last one.
Nothing is started anew or put elsewhere: a sandbox that ended is nobody's any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.limits import MIB
from assay.driver.port import SandboxSpec
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    CAPABILITIES,
    CORE_BYTES,
    HOST_NAME,
    NETWORK,
)
from assay.drivers.linux.container import Place, agent_of_container, room
from assay.drivers.linux.folder import new_id
from assay.drivers.nomad.options import Options

TASK: Final = "sandbox"
_BATCH: Final = 14
"""Characters of a sandbox's id that are its batch's."""
_SECOND: Final = 1_000_000_000
_LOST_AFTER: Final = 600 * _SECOND
_FOLDERS: Final = ("/alloc", "/local", "/secrets")
"""Of a client's disk, which Nomad shows in every task."""


def batch_of(sandbox_id: str) -> str:
    """The part of an id that all of a batch have in common."""
    return sandbox_id[:_BATCH]


def member_of(batch: str) -> str:
    """A new id in a batch; nobody can guess it."""
    return batch + new_id()[1 : 1 + len(new_id()) - _BATCH]


def new_batch() -> str:
    """The beginning of new ids."""
    return batch_of(new_id())


def job_name(mark: str, batch: str) -> str:
    """The job of a batch, for the driver of that mark."""
    return f"{prefix(mark)}{batch}"


def prefix(mark: str) -> str:
    """How the names of all jobs of a driver begin."""
    return f"assay-{mark}-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One sandbox."""

    sandbox_id: str
    image: str
    spec: SandboxSpec
    places: Sequence[Place]


def job(options: Options, mark: str, batch: str, wanted: Iterable[Wanted]) -> dict[str, Any]:
    """The job of a batch."""
    return {
        "ID": job_name(mark, batch),
        "Name": job_name(mark, batch),
        "Type": "batch",
        "Priority": options.priority,
        **({"Namespace": options.namespace} if options.namespace else {}),
        **({"Region": options.region} if options.region else {}),
        **({"NodePool": options.node_pool} if options.node_pool else {}),
        "Datacenters": list(options.datacenters),
        "Constraints": [
            {"LTarget": attribute, "RTarget": value, "Operand": "="}
            for attribute, value in options.constraints.items()
        ],
        "Spreads": [
            {"Attribute": attribute, "Weight": weight}
            for attribute, weight in options.spread.items()
        ],
        "Meta": {"assay": mark},
        "TaskGroups": [_group(options, each) for each in wanted],
    }


def _group(options: Options, wanted: Wanted) -> dict[str, Any]:
    return {
        "Name": wanted.sandbox_id,
        "Count": 1,
        "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        # Its client may be away for a while; its sandboxes are the same when it comes back.
        "Disconnect": {"LostAfter": _LOST_AFTER, "Replace": False},
        "EphemeralDisk": {"SizeMB": 10},
        "Tasks": [_task(options, wanted)],
    }


def _task(options: Options, wanted: Wanted) -> dict[str, Any]:
    return {
        "Name": TASK,
        "Driver": "docker",
        "User": "0:0",
        "Config": _container(options, wanted),
        "Env": dict(pair.split("=", 1) for pair in AGENT_ENVIRONMENT),
        "Resources": {"CPU": options.reserved_cpu, "MemoryMB": _reserved(options, wanted.spec)},
        "LogConfig": {"Disabled": True, "MaxFiles": 1, "MaxFileSizeMB": 1},
        # The agent hears nothing else, and has nothing to finish.
        "KillSignal": "SIGKILL",
        "KillTimeout": _SECOND,
    }


def _reserved(options: Options, spec: SandboxSpec) -> int:
    return min(options.reserved_memory, _mebibytes(spec))


def _mebibytes(spec: SandboxSpec) -> int:
    return -(-room(spec.limits).memory_bytes // MIB)


def _container(options: Options, wanted: Wanted) -> dict[str, Any]:
    agent = agent_of_container(wanted.spec, filters=True, closed=_FOLDERS)
    return {
        "image": wanted.image,
        "entrypoint": agent[:1],
        "args": agent[1:],
        **({"runtime": options.runtime} if options.runtime else {}),
        "hostname": HOST_NAME,
        "network_mode": "none",
        "cgroupns": "private",
        "readonly_rootfs": True,
        "cap_drop": ["all"],
        "cap_add": [name.lower() for name in CAPABILITIES],
        "security_opt": ["no-new-privileges"],
        "pids_limit": room(wanted.spec.limits).processes,
        # More than what the scheduler counts, which sandboxes that wait don't need.
        "memory_hard_limit": _mebibytes(wanted.spec),
        "sysctl": [NETWORK],
        "ulimit": [{"core": f"{CORE_BYTES}:{CORE_BYTES}"}],
        "mount": [_mount(place) for place in wanted.places],
    }


def _mount(place: Place) -> dict[str, Any]:
    driver = place.driver
    return {
        "type": "volume",
        "target": place.target,
        "volume_options": [{
            "no_copy": place.empty,
            "driver_config": [{"name": driver["Name"], "options": [driver["Options"]]}],
        }],
    }  # fmt: skip
