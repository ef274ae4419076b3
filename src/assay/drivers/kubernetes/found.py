"""What Kubernetes says of a pod, and what that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.errors import CapacityExceeded, ImageUnavailable, RuntimeFailed
from assay.drivers.kubernetes.pod import CONTAINER

_OVER: Final = ("Succeeded", "Failed")
_PULLING: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ImageInspectError")
_HOPELESS: Final = (
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
)  # fmt: skip
_UNPLACED: Final = ("PodScheduled", "False", "Unschedulable")
_MOST_WORDS: Final = 1000

Failure = CapacityExceeded | ImageUnavailable | RuntimeFailed


@dataclass(frozen=True, kw_only=True, slots=True)
class Pod:
    """One sandbox's, as it was when somebody looked."""

    name: str
    uid: str
    node: str
    leaving: bool
    """Whether it is to go, which nobody can take back."""
    over: bool
    runs: bool
    """Whether its agent can be reached, or could if its node answered."""
    out_of_memory: bool
    host_users: bool
    """Whether it has no users of its own."""
    failure: Failure | None
    """Why it will never run, if that is so."""


def pod_found(found: Mapping[str, Any]) -> Pod:
    """What an answer says. It is input: whatever it lacks is taken for not being so."""
    metadata, spec, status = (_object(found.get(key)) for key in ("metadata", "spec", "status"))
    containers = _statuses(status)
    own = containers.get(CONTAINER, {})
    phase = str(status.get("phase", ""))
    ended = _object(_object(own.get("state")).get("terminated"))
    over = phase in _OVER or bool(ended)
    return Pod(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        node=str(spec.get("nodeName", "")),
        leaving="deletionTimestamp" in metadata,
        over=over,
        runs=not over and isinstance(_object(own.get("state")).get("running"), dict),
        out_of_memory=ended.get("reason") == "OOMKilled",
        host_users=spec.get("hostUsers") is not False,
        failure=_failure(status, containers, over),
    )


def _statuses(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = [
        each
        for key in ("initContainerStatuses", "containerStatuses")
        for each in _list(status.get(key))
    ]
    return {str(each.get("name")): each for each in found}


def _failure(
    status: Mapping[str, Any], containers: Mapping[str, Mapping[str, Any]], over: bool
) -> Failure | None:
    waiting = [_object(_object(each.get("state")).get("waiting")) for each in containers.values()]
    for each in waiting:
        if each.get("reason") in _PULLING:
            return ImageUnavailable(
                "a node of Kubernetes can't pull a sandbox's image; registry and pull_secret in"
                " [kubernetes] say from where",
                detail=_words(each),
            )
        if each.get("reason") in _HOPELESS:
            return RuntimeFailed(
                "a node of Kubernetes could not start a sandbox", detail=_words(each)
            )
    if over:
        ends = [
            _object(_object(each.get("state")).get("terminated")) for each in containers.values()
        ]
        detail = "; ".join(filter(None, map(_words, (status, *ends))))[:_MOST_WORDS]
        return RuntimeFailed("a sandbox ended as it was made by Kubernetes", detail=detail)
    return _no_room(status)


def _no_room(status: Mapping[str, Any]) -> Failure | None:
    for each in _list(status.get("conditions")):
        if tuple(map(each.get, ("type", "status", "reason"))) == _UNPLACED:
            return CapacityExceeded(
                "no node of Kubernetes has room for a sandbox, or none is fit for it",
                detail=_words(each),
            )
    return None


def _words(found: Mapping[str, Any]) -> str:
    said = [str(found[key]) for key in ("reason", "message", "exitCode") if found.get(key)]
    return ": ".join(said)[:_MOST_WORDS]


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
