"""What Nomad is told about sandboxes, as functions of data.

A batch of them that are wanted at the same time is one job, each a group of its own with one task.
So one request, one evaluation and one plan make all of them; the job goes with the last one.
Nothing is started anew or put elsewhere: a sandbox that ended is nobody's any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from assay.driver.port import SandboxSpec
from assay.drivers.linux.confinement import AGENT_ENVIRONMENT
from assay.drivers.linux.folder import new_id
from assay.drivers.nomad.options import DOCKER, Options
from assay.drivers.nomad.task import CONFIGURED, Wanted, mebibytes

TASK: Final = "sandbox"
_BATCH: Final = 14
"""Characters of a sandbox's id that are its batch's."""
_SECOND: Final = 1_000_000_000
_LOST_AFTER: Final = 600 * _SECOND


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


def job(
    options: Options,
    mark: str,
    batch: str,
    wanted: Iterable[Wanted],
    *,
    oversubscribed: bool = False,
) -> dict[str, Any]:
    """The job of a batch. `oversubscribed`: this cluster's scheduler lets tasks have more memory
    than it counts."""
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
        "TaskGroups": [_group(options, each, oversubscribed) for each in wanted],
    }


def _group(options: Options, wanted: Wanted, oversubscribed: bool) -> dict[str, Any]:
    return {
        "Name": wanted.sandbox_id,
        "Count": 1,
        "RestartPolicy": {"Attempts": 0, "Mode": "fail"},
        "ReschedulePolicy": {"Attempts": 0, "Unlimited": False},
        # Its client may be away for a while; its sandboxes are the same when it comes back.
        "Disconnect": {"LostAfter": _LOST_AFTER, "Replace": False},
        "EphemeralDisk": {"SizeMB": 10},
        "Tasks": [_task(options, wanted, oversubscribed)],
    }


def _task(options: Options, wanted: Wanted, oversubscribed: bool) -> dict[str, Any]:
    return {
        "Name": TASK,
        "Driver": options.task_driver,
        "User": "0:0",
        "Config": CONFIGURED[options.task_driver](options, wanted),
        "Env": dict(pair.split("=", 1) for pair in AGENT_ENVIRONMENT),
        "Resources": _resources(options, wanted.spec, oversubscribed),
        "LogConfig": {"Disabled": True, "MaxFiles": 1, "MaxFileSizeMB": 1},
        # The agent hears nothing else, and has nothing to finish.
        "KillSignal": "SIGKILL",
        "KillTimeout": _SECOND,
    }


def _resources(options: Options, spec: SandboxSpec, oversubscribed: bool) -> dict[str, int]:
    """What the scheduler counts, and with Podman what is the limit, too."""
    most = mebibytes(spec)
    counted = min(options.reserved_memory, most)
    if options.task_driver == DOCKER:
        return {"CPU": options.reserved_cpu, "MemoryMB": counted}
    if not oversubscribed:
        return {"CPU": options.reserved_cpu, "MemoryMB": most}
    return {"CPU": options.reserved_cpu, "MemoryMB": counted, "MemoryMaxMB": most}
