"""What an operator says of a Kubernetes cluster: where it is, and where its sandboxes may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from assay.domain.errors import InvalidInput

_TEXTS: Final = {
    "kubeconfig": "/etc/assay/kubeconfig",
    "context": "a context of the kubeconfig",
    "namespace": "assay-sandboxes",
    "registry": "registry.example.org:5000/assay",
    "pull_secret": "registry-login",
    "runtime_class": "sandboxes",
    "priority_class": "sandboxes",
    "spread": "topology.kubernetes.io/zone",
}
_WHOLES: Final = {"reserved_memory": 32, "reserved_cpu": 10, "longest": 604800}
_SWITCHES: Final = {"user_namespaces": True, "offline": True}
_TABLES: Final = {"node_selector": {"assay": "sandboxes"}}
_LISTS: Final = {"tolerations": [{"key": "sandboxes", "operator": "Exists"}]}
_KEYS: Final[Mapping[str, Any]] = {**_TEXTS, **_WHOLES, **_SWITCHES, **_TABLES, **_LISTS}
_SWITCHED: Final = {"true": True, "false": False}
_TOLERATION: Final = ("key", "operator", "value", "effect")
_ANYWHERE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Of one cluster; an empty text is Kubernetes' own choice, or none."""

    kubeconfig: str = ""
    """A file; empty: this pod's account where it is one, else kubectl's usual file."""
    context: str = ""
    namespace: str = "assay-sandboxes"
    registry: str = ""
    """HOST:PORT/FOLDER that the nodes have images from, and this machine may push to."""
    pull_secret: str = ""
    """By which nodes log in there."""
    runtime_class: str = ""
    priority_class: str = ""
    node_selector: Mapping[str, str] = field(default_factory=lambda: _ANYWHERE)
    tolerations: tuple[Mapping[str, str], ...] = ()
    spread: str = ""
    """The label of nodes over whose values sandboxes are spread."""
    reserved_memory: int = 32
    """MiB that the scheduler counts for a sandbox, which may have more (its limit)."""
    reserved_cpu: int = 10
    """Thousandths of a processor that it counts, and a sandbox's weight in a struggle for them."""
    longest: int = 604_800
    """Seconds after which Kubernetes ends a sandbox, whoever has it."""
    user_namespaces: bool = True
    """Each sandbox has users of its own. Otherwise no limit of processes holds."""
    offline: bool = True
    """Each pod's network is taken down, by a container before the sandbox's. Otherwise policies
    alone keep sandboxes apart from others, if the cluster's network knows any."""


def read_options(table: Mapping[str, Any]) -> Options:
    """What the table `[kubernetes]` of a configuration says. Raises InvalidInput."""
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise InvalidInput(f"kubernetes.{unknown[0]}: there are only {', '.join(_KEYS)}")
    options = Options(**{key: _checked(key, value) for key, value in table.items()})
    for file in filter(None, options.kubeconfig.split(":")):
        if not Path(file).is_file():
            raise InvalidInput(f"kubernetes: there is no file {file}; see KUBECONFIG")
    return options


def _checked(key: str, value: Any) -> Any:
    if key in _TEXTS and isinstance(value, str) and value:
        return value
    if key in _WHOLES and type(value) is int and value > 0:
        return value
    if key in _SWITCHES and (switch := _SWITCHED.get(value, value)) in (True, False):
        return bool(switch)
    if key in _TABLES and _is_texts(value):
        return MappingProxyType(value)
    if key in _LISTS and isinstance(value, list) and all(map(_is_toleration, value)):
        return tuple(value)
    raise InvalidInput(f"kubernetes.{key}: this must be like {_KEYS[key]!r}")


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _is_toleration(value: Any) -> bool:
    return _is_texts(value) and set(value) <= set(_TOLERATION)
