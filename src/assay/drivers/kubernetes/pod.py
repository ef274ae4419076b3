"""What Kubernetes is told about sandboxes, as functions of data.

Each is a pod that is never started anew. A first container, which ends before the second begins,
gives the folders to whom they are for and takes the network down; only that one has the rights to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.limits import MIB
from assay.driver.port import SandboxSpec
from assay.drivers.kubernetes.options import Options
from assay.drivers.linux.confinement import (
    AGENT_ENVIRONMENT,
    AGENT_FOLDER,
    CAPABILITIES,
    CONTROL,
    HOST_NAME,
)
from assay.drivers.linux.container import Place, agent_of_container, room
from assay.drivers.linux.folder import is_id

CONTAINER: Final = "sandbox"
OF: Final = "assay-server"
"""The label with the mark of whose sandboxes they are."""
_PREFIX: Final = "assay-"
_FURNISHER: Final = "furnish"
_FILLED: Final = f"{AGENT_FOLDER}/filled"
"""Where the first container sees the folder that is filled with what the image has there."""
_FURNISHERS: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER")
_PAGE: Final = 4096
_PAGES_LEAST: Final = 16
_LABEL: Final = "app.kubernetes.io/name"


def pod_name(sandbox_id: str) -> str:
    """Of a sandbox's pod."""
    return f"{_PREFIX}{sandbox_id}"


def sandbox_of(pod: str) -> str | None:
    """Whose pod it is, if it is a sandbox's."""
    sandbox_id = pod.removeprefix(_PREFIX)
    return sandbox_id if pod.startswith(_PREFIX) and is_id(sandbox_id) else None


def selector(mark: str) -> str:
    """What the pods of a driver have in common, and no others."""
    return f"{OF}={mark}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """One sandbox."""

    sandbox_id: str
    image: str
    spec: SandboxSpec
    places: Sequence[Place]


def pod(options: Options, mark: str, wanted: Wanted) -> dict[str, Any]:
    """The pod of a sandbox."""
    labels = {OF: mark, _LABEL: "assay-sandbox"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(wanted.sandbox_id), "namespace": options.namespace, "labels": labels,
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "activeDeadlineSeconds": options.longest,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "hostname": HOST_NAME,
            # Nothing of the node's own configuration is to be read in a sandbox.
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["127.0.0.1"]},
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [_furnisher(options, wanted)],
            "containers": [_container(options, wanted)],
            "volumes": [_volume(number, each) for number, each in enumerate(wanted.places)],
            **_placement(options, labels),
        },
    }  # fmt: skip


def _placement(options: Options, labels: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if options.user_namespaces:
        said["hostUsers"] = False
    if options.runtime_class:
        said["runtimeClassName"] = options.runtime_class
    if options.priority_class:
        said["priorityClassName"] = options.priority_class
    if options.node_selector:
        said["nodeSelector"] = dict(options.node_selector)
    if options.tolerations:
        said["tolerations"] = [dict(each) for each in options.tolerations]
    if options.pull_secret:
        said["imagePullSecrets"] = [{"name": options.pull_secret}]
    if options.spread:
        said["topologySpreadConstraints"] = [{
            "maxSkew": 1, "topologyKey": options.spread, "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {_LABEL: labels[_LABEL]}},
        }]  # fmt: skip
    return said


def _container(options: Options, wanted: Wanted) -> dict[str, Any]:
    spec, limits = wanted.spec, room(wanted.spec.limits)
    processes = spec.limits.processes if options.user_namespaces else None
    return {
        "name": CONTAINER,
        **_program(wanted, agent_of_container(spec, processes=processes, filters=True)),
        "resources": {
            "requests": _requests(options, limits.memory_bytes),
            "limits": {
                "memory": str(limits.memory_bytes), "cpu": f"{round(spec.limits.cpus * 1000)}m",
            },
        },
        "securityContext": _security(tuple(CAPABILITIES)),
        "volumeMounts": [
            {"name": _volume_name(number), "mountPath": each.target}
            for number, each in enumerate(wanted.places)
        ],
    }  # fmt: skip


def _furnisher(options: Options, wanted: Wanted) -> dict[str, Any]:
    words, mounts = ["--offline"] if options.offline else [], []
    for number, each in enumerate(wanted.places):
        path = each.target if each.empty else _FILLED
        if not each.empty:
            words += ["--fill", each.target, path]
        words += ["--place", path, str(each.user), str(each.group), f"{each.mode:o}"]
        mounts.append({"name": _volume_name(number), "mountPath": path})
    rights = (*_FURNISHERS, "NET_ADMIN") if options.offline else _FURNISHERS
    limits = room(wanted.spec.limits)
    return {
        "name": _FURNISHER,
        **_program(wanted, [f"{AGENT_FOLDER}/agent", "furnish", *words]),
        "resources": {
            "requests": _requests(options, limits.memory_bytes),
            "limits": {"memory": str(limits.memory_bytes), "cpu": "1"},
        },
        "securityContext": _security(rights),
        "volumeMounts": mounts,
    }


def _program(wanted: Wanted, command: Sequence[str]) -> dict[str, Any]:
    return {
        "image": wanted.image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [
            {"name": name, "value": value}
            for name, _, value in (pair.partition("=") for pair in AGENT_ENVIRONMENT)
        ],
        # A file of the node's disk, which anybody could fill elsewhere.
        "terminationMessagePath": f"{CONTROL}/last-words",
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _security(rights: Sequence[str]) -> dict[str, Any]:
    return {
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": list(rights)},
    }


def _requests(options: Options, most: int) -> dict[str, str]:
    memory = min(options.reserved_memory * MIB, most)
    return {"memory": str(memory), "cpu": f"{options.reserved_cpu}m"}


def _volume_name(number: int) -> str:
    return f"place{number}"


def _volume(number: int, place: Place) -> dict[str, Any]:
    size = max(place.pages, _PAGES_LEAST) * _PAGE
    folder = {"medium": "Memory", "sizeLimit": str(size)}
    return {"name": _volume_name(number), "emptyDir": folder}
