"""What an operator says of a Nomad cluster: where it is, and where its sandboxes may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from assay.domain.errors import InvalidInput

DOCKER: Final = "docker"
PODMAN: Final = "podman"
TASK_DRIVERS: Final = (DOCKER, PODMAN)
USUAL: Final = "http://127.0.0.1:4646"
_TEXTS: Final = {
    "address": "http://10.0.0.1:4646, several with blanks between them",
    "token": "a secret id; better in the variable NOMAD_TOKEN",
    "namespace": "default",
    "region": "global",
    "authority": "/etc/assay/nomad/ca.pem",
    "certificate": "/etc/assay/nomad/cert.pem",
    "key": "/etc/assay/nomad/key.pem",
    "registry": "registry.example.org:5000/assay",
    "runtime": "runsc",
    "task_driver": PODMAN,
    "node_pool": "default",
}
_LISTS: Final = {"datacenters": ["dc1"]}
_WHOLES: Final = {"priority": 50, "reserved_memory": 32, "reserved_cpu": 20}
_TABLES: Final = {
    "constraints": {"${node.class}": "sandboxes"},
    "spread": {"${node.datacenter}": 100},
}
_KEYS: Final[Mapping[str, Any]] = {**_TEXTS, **_LISTS, **_WHOLES, **_TABLES}
_ANYTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """One cluster, and what its jobs are to have in common."""

    address: str = USUAL
    """Of its HTTP API; several have blanks between them, and are asked in turn."""
    token: str = field(default="", repr=False)
    namespace: str = ""
    region: str = ""
    authority: str = ""
    """The file of the certificate that its servers' are signed with; "": the machine's own."""
    certificate: str = ""
    key: str = ""
    registry: str = ""
    """Where images are put for its clients to pull: HOST:PORT/FOLDER."""
    runtime: str = ""
    """The OCI runtime of sandboxes; "": the engines' own choice."""
    task_driver: str = DOCKER
    """Which of the clients' task drivers makes sandboxes."""
    node_pool: str = ""
    datacenters: tuple[str, ...] = ("*",)
    priority: int = 50
    reserved_memory: int = 32
    """MiB that the scheduler counts for a sandbox, which may have more (its limit)."""
    reserved_cpu: int = 20
    """MHz that the scheduler counts for it, and its weight in a struggle for processors."""
    constraints: Mapping[str, str] = field(default_factory=lambda: _ANYTHING)
    """Attributes that a client must have: what they are called -> what they must be."""
    spread: Mapping[str, int] = field(default_factory=lambda: _ANYTHING)
    """Attributes over whose values sandboxes are spread -> with which weight (1 to 100)."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Each without a slash at its end."""
        return tuple(each.rstrip("/") for each in self.address.split())


def read_options(table: Mapping[str, Any]) -> Options:
    """What the table `[nomad]` of a configuration says. Raises InvalidInput."""
    unknown = sorted(set(table) - set(_KEYS))
    if unknown:
        raise InvalidInput(f"nomad.{unknown[0]}: there are only {', '.join(_KEYS)}")
    options = Options(**{key: _checked(key, value) for key, value in table.items()})
    wrong = [each for each in options.addresses if not each.startswith(("http://", "https://"))]
    if wrong or not options.addresses:
        raise InvalidInput(f"{options.address!r} is no address of a Nomad, such as {USUAL}")
    _require_task_driver(options)
    for file in (options.authority, options.certificate, options.key):
        if file and not Path(file).is_file():
            raise InvalidInput(f"nomad: there is no file {file}")
    return options


def _require_task_driver(options: Options) -> None:
    if options.task_driver not in TASK_DRIVERS:
        raise InvalidInput(
            f"nomad.task_driver: sandboxes are made by {' or '.join(TASK_DRIVERS)}, and not by"
            f" {options.task_driver}, in which no program is shut in as it has to be: docs/nomad.md"
        )
    if options.runtime and options.task_driver != DOCKER:
        raise InvalidInput(f"nomad.runtime: {options.task_driver} has its own; {DOCKER} has others")


def _checked(key: str, value: Any) -> Any:
    example = _KEYS[key]
    if key in _TEXTS and isinstance(value, str) and value:
        return value
    if key in _WHOLES and type(value) is int and value > 0:
        return value
    if key in _LISTS and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    if key in _TABLES and isinstance(value, dict) and all(map(_is_like(example), value.values())):
        return MappingProxyType(value)
    raise InvalidInput(f"nomad.{key}: this must be like {example!r}")


def _is_like(example: Mapping[str, Any]) -> Any:
    kind = type(next(iter(example.values())))
    return lambda value: type(value) is kind
