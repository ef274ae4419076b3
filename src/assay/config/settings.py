"""Where things are on this machine: flags over ASSAY_* variables over a file over defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from assay.config.document import CONFIGURATION, NODE, NODES, RUNTIMES, SERVER, Document
from assay.domain.devices import AllowedDevices
from assay.domain.errors import InvalidInput

_OF_NOMAD: Final = {
    "address": "NOMAD_ADDR", "token": "NOMAD_TOKEN", "namespace": "NOMAD_NAMESPACE",
    "region": "NOMAD_REGION", "authority": "NOMAD_CACERT", "certificate": "NOMAD_CLIENT_CERT",
    "key": "NOMAD_CLIENT_KEY", "registry": "ASSAY_NOMAD_REGISTRY",
    "runtime": "ASSAY_NOMAD_RUNTIME", "task_driver": "ASSAY_NOMAD_TASK_DRIVER",
}  # fmt: skip
_OF_KUBERNETES: Final = {
    "kubeconfig": "KUBECONFIG", "context": "ASSAY_KUBERNETES_CONTEXT",
    "namespace": "ASSAY_KUBERNETES_NAMESPACE", "registry": "ASSAY_KUBERNETES_REGISTRY",
    "runtime_class": "ASSAY_KUBERNETES_RUNTIME_CLASS",
    "user_namespaces": "ASSAY_KUBERNETES_USER_NAMESPACES",
    "offline": "ASSAY_KUBERNETES_OFFLINE",
}  # fmt: skip
CERTIFICATES: Final = Path("/etc/assay/nodes")
_KEYS_OF_NODES: Final = ("addresses", "file", "dns", "certificates")
_ADDRESSES: Final = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}


@dataclass(frozen=True, kw_only=True, slots=True)
class NodesSettings:
    """Where the nodes are that the driver `nodes` makes sandboxes on."""

    addresses: tuple[str, ...] = ()
    file: Path | None = None
    """One address a line; read again and again."""
    dns: str = ""
    """NAME:PORT; every address of the name is a node."""
    certificates: Path = CERTIFICATES
    """Where ca.pem, cert.pem and key.pem of this server are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the operator of a machine decides.

    | flag             | variable           | key in the file | default                  |
    |------------------|--------------------|-----------------|--------------------------|
    | `--state`        | ASSAY_STATE        | state           | /run/assay               |
    |                  | ASSAY_IMAGES       | images          | /var/lib/assay/images    |
    | `--environments` | ASSAY_ENVIRONMENTS | environments    | none besides Assay's own |
    | `--driver`       | ASSAY_DRIVER       | driver          | the fastest that works   |
    |                  | ASSAY_DEVICES      | devices         | none                     |
    |                  | ASSAY_LEAN         | runtimes.lean   | the one of this Assay    |
    |                  | ASSAY_CRUN         | runtimes.crun   | crun, on PATH            |
    |                  | ASSAY_RUNC         | runtimes.runc   | runc, on PATH            |
    |                  | ASSAY_RUNSC        | runtimes.runsc  | runsc, on PATH           |
    |                  | ASSAY_LXC          | runtimes.lxc    | lxc-start, on PATH       |
    |                  | ASSAY_DOCKER       | runtimes.docker | DOCKER_HOST, or its own  |
    |                  | ASSAY_PODMAN       | runtimes.podman | CONTAINER_HOST, likewise |
    |                  | ASSAY_QEMU         | runtimes.qemu   | qemu-system-…, on PATH   |
    |                  | ASSAY_FIRECRACKER  | runtimes.firecracker | firecracker, on PATH |
    |                  | NOMAD_ADDR, …      | nomad.…         | docs/nomad.md            |
    |                  |                    | inginious.…     | docs/inginious.md        |
    |                  | KUBECONFIG, …      | kubernetes.…    | docs/kubernetes.md       |
    |                  | ASSAY_GUEST_KERNEL | guest_kernel    | the newest in /boot      |
    |                  | ASSAY_NODES        | nodes.addresses | none                     |
    |                  | ASSAY_NODES_FILE   | nodes.file      | none                     |
    |                  | ASSAY_NODES_DNS    | nodes.dns       | none                     |
    |                  | ASSAY_NODES_CERTIFICATES | nodes.certificates | /etc/assay/nodes |

    Who isn't root has $XDG_RUNTIME_DIR/assay in the place of /run/assay, and
    $XDG_DATA_HOME/assay/images (~/.local/share/assay/images) in that of /var/lib/assay/images.
    """

    state: Path
    """Sandboxes and findings of this machine; worth nothing after a restart of it."""
    images: Path
    """Images that were pulled or built, unpacked; they outlive a restart."""
    environments: tuple[Path, ...] = ()
    """Folders of environments, searched before those that come with Assay."""
    driver: str | None = None
    """The driver to use when none is named; None: find out."""
    devices: AllowedDevices = field(default_factory=AllowedDevices)
    """Devices of this machine that environments may have."""
    runtimes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By driver: the program to call instead of the one on PATH, or where its engine listens."""
    nomad: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The table `[nomad]`, and Nomad's own variables: for its driver to read."""
    inginious: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The table `[inginious]`: names of INGInious' containers with environments of ours."""
    kubernetes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """The table `[kubernetes]`, and its variables: for its driver to read."""
    guest_kernel: str = ""
    """The kernel that virtual machines run, /somewhere/vmlinuz-RELEASE; "": find one."""
    nodes: NodesSettings = field(default_factory=NodesSettings)


def read_settings(
    *,
    state: str | None = None,
    environments: tuple[str, ...] = (),
    driver: str | None = None,
    variables: Mapping[str, str] | None = None,
    configuration: Path = CONFIGURATION,
) -> Settings:
    """Read the settings; arguments are flags. Raises InvalidInput: where, and what is wrong."""
    variables = os.environ if variables is None else variables
    document = Document.read(variables, configuration)
    found_state = _first(state, variables.get("ASSAY_STATE"), document.path("state"))
    found_images = _first(variables.get("ASSAY_IMAGES"), document.path("images"))
    named = tuple(filter(None, variables.get("ASSAY_ENVIRONMENTS", "").split(os.pathsep)))
    written = document.paths("environments")
    folders = _paths(environments) or _paths(named) or written
    runtimes = {**_engines_of(variables), **document.runtimes(), **_runtimes_of(variables)}
    settings = Settings(
        state=_path(found_state) if found_state else default_state(variables),
        images=_path(found_images) if found_images else _default_images(variables),
        environments=folders,
        driver=_first(driver, variables.get("ASSAY_DRIVER"), document.text("driver")),
        devices=_devices(variables.get("ASSAY_DEVICES", ""), document),
        runtimes=MappingProxyType(runtimes),
        nomad=MappingProxyType({**document.table("nomad"), **_named(variables, _OF_NOMAD)}),
        inginious=_inginious(document),
        kubernetes=MappingProxyType(
            {**document.table("kubernetes"), **_named(variables, _OF_KUBERNETES)}
        ),
        guest_kernel=_first(variables.get("ASSAY_GUEST_KERNEL"), document.text("guest_kernel"))
        or "",
        nodes=_nodes(variables, document),
    )
    document.table(SERVER)
    document.table(NODE)
    document.refuse_unknown()
    return settings


def _devices(named: str, document: Document) -> AllowedDevices:
    written = document.texts("devices")
    said = tuple(filter(None, (name.strip() for name in named.split(","))))
    place = "ASSAY_DEVICES" if said else f"{document.file}: devices"
    try:
        return AllowedDevices(patterns=said or written)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: {error.message}") from error


def _inginious(document: Document) -> Mapping[str, str]:
    written = document.table("inginious")
    for key, value in written.items():
        if not isinstance(value, str) or not value:
            place = f"{document.file}: inginious.{key}"
            raise InvalidInput(f'{place}: this must be the name of an environment, such as "c"')
    return MappingProxyType(dict(written))


def _nodes(variables: Mapping[str, str], document: Document) -> NodesSettings:
    written = document.table(NODES)
    for key, value in written.items():
        place = f"{document.file}: {NODES}.{key}"
        if key not in _KEYS_OF_NODES:
            raise InvalidInput(f"{place}: there are only {', '.join(_KEYS_OF_NODES)}")
        listed = isinstance(value, list) and all(isinstance(each, str) for each in value)
        if not (listed if key == "addresses" else isinstance(value, str) and value):
            wanted = 'a list such as ["node1.example:7300"]' if key == "addresses" else "a text"
            raise InvalidInput(f"{place}: this must be {wanted}")
    named = tuple(
        filter(None, (each.strip() for each in variables.get("ASSAY_NODES", "").split(",")))
    )
    file = _first(variables.get("ASSAY_NODES_FILE"), written.get("file"))
    certificates = _first(variables.get("ASSAY_NODES_CERTIFICATES"), written.get("certificates"))
    return NodesSettings(
        addresses=named or tuple(written.get("addresses", ())),
        file=_path(file) if file else None,
        dns=_first(variables.get("ASSAY_NODES_DNS"), written.get("dns")) or "",
        certificates=_path(certificates) if certificates else CERTIFICATES,
    )


def _runtimes_of(variables: Mapping[str, str]) -> dict[str, str]:
    found = {name: variables.get(f"ASSAY_{name.upper()}", "") for name in RUNTIMES}
    return {name: program for name, program in found.items() if program}


def _named(variables: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """What variables say, by the keys that they stand for."""
    return {key: variables[name] for key, name in names.items() if variables.get(name)}


def _engines_of(variables: Mapping[str, str]) -> dict[str, str]:
    """Where engines listen by the variables of their own."""
    found = _named(variables, _ADDRESSES)
    certificates = variables.get("DOCKER_CERT_PATH", "")
    if certificates and found.get("docker", "").startswith("tcp:"):
        found["docker"] += f"?certificates={certificates}"
    return found


def default_state(variables: Mapping[str, str]) -> Path:
    """The state folder where nothing names another one."""
    if os.geteuid() == 0:
        return Path("/run/assay")
    return Path(variables.get("XDG_RUNTIME_DIR") or f"/tmp/assay-{os.geteuid()}", "assay")


def _default_images(variables: Mapping[str, str]) -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/assay/images")
    data = variables.get("XDG_DATA_HOME")
    return Path(data or Path.home() / ".local/share", "assay/images")


def _first(*values: str | None) -> str | None:
    return next((value for value in values if value), None)


def _paths(values: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(_path(value) for value in values)


def _path(value: str) -> Path:
    if "\0" in value:
        raise InvalidInput("the path of a folder holds no NUL")
    return Path(value).absolute()
