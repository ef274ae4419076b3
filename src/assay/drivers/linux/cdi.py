"""The Container Device Interface: specifications of what belongs to a device, by its makers.

https://github.com/cncf-tags/container-device-interface, version 0.x and 1.x. What is taken from a
specification are device nodes, files and folders (shown read-only), and variables. Its hooks,
programs that a runtime would run on the host as root, are never run; sockets are not shown, as who
listens there trusts whoever connects. `left_out` says which these are.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from assay.domain.devices import Device
from assay.domain.errors import DeviceUnavailable
from assay.driver.port import Mount

FOLDERS: Final = (Path("/var/run/cdi"), Path("/etc/cdi"))
"""The first that knows a device counts."""
PLACES: Final = "/etc/cdi"
_FORMATS: Final = (".json", ".yaml", ".yml")
_LARGEST: Final = 4 * 1024 * 1024
_OWN: Final = (
    "/dev",
    "/proc",
    "/sys",
    "/tmp",
    "/var/tmp",
    "/run",
    "/var/run",
    "/workspace",
    "/.assay",
)
"""Places that are a sandbox's own."""
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*")


class _NodeText(msgspec.Struct, rename="camel"):
    path: str
    host_path: str = ""


class _MountText(msgspec.Struct, rename="camel"):
    host_path: str
    container_path: str


class _Edits(msgspec.Struct, rename="camel"):
    env: list[str] = []
    device_nodes: list[_NodeText] = []
    mounts: list[_MountText] = []
    hooks: list[dict[str, Any]] = []
    net_devices: list[dict[str, Any]] = []


class _DeviceText(msgspec.Struct, rename="camel"):
    name: str
    container_edits: _Edits = msgspec.field(default_factory=_Edits)


class _Specification(msgspec.Struct, rename="camel"):
    kind: str
    devices: list[_DeviceText]
    container_edits: _Edits = msgspec.field(default_factory=_Edits)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A device's file in a sandbox, and on the host."""

    path: str
    host_path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What belongs to a device; `left_out` is for people, one line each."""

    nodes: tuple[Node, ...]
    mounts: tuple[Mount, ...]
    variables: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def find(device: Device, folders: Sequence[Path] = FOLDERS) -> Parts:
    """What belongs to it. Raises DeviceUnavailable when nobody knows it, or says it wrongly."""
    for folder in folders:
        found = [
            (file, [specification.container_edits, each.container_edits])
            for file, specification in _specifications(folder)
            if specification.kind == device.kind
            for each in specification.devices
            if each.name == device.member
        ]
        if len(found) > 1:
            files = " and ".join(str(file) for file, _ in found)
            raise DeviceUnavailable(f"{device.name} is in {files}; remove one of them")
        for file, edits in found:
            return _parts(file, edits)
    raise DeviceUnavailable(f"no specification in {PLACES} has {device.name}{_remedy(device)}")


def variables(devices: Iterable[Device]) -> dict[str, str]:
    """What programs are told of those that are known here; files say no more than that."""
    found: dict[str, str] = {}
    for device in devices:
        if not device.is_path:
            try:
                found |= find(device).variables
            except DeviceUnavailable:
                continue  # who makes the sandbox knows it, or says what is missing
    return found


def known(folders: Sequence[Path] = FOLDERS) -> list[Device]:
    """All devices of all specifications that can be read."""
    names = {
        f"{specification.kind}={each.name}"
        for folder in folders
        for _, specification in _specifications(folder)
        for each in specification.devices
    }
    return [Device(name=name) for name in sorted(names)]


def _remedy(device: Device) -> str:
    if device.kind == "nvidia.com/gpu":
        return ": nvidia-ctk cdi generate --format=json --output=/etc/cdi/nvidia.json"
    return "; its maker's tools write one"


def _specifications(folder: Path) -> Iterator[tuple[Path, _Specification]]:
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in _FORMATS)
    except OSError:
        return
    for file in files:
        yield file, _read(file)


def _read(file: Path) -> _Specification:
    try:
        state = file.stat()
        if state.st_uid != 0 or state.st_mode & 0o022 or not stat.S_ISREG(state.st_mode):
            raise DeviceUnavailable(
                f"{file} could have been written by others than root; chown root {file} &&"
                f" chmod go-w {file}"
            )
        if state.st_size > _LARGEST:
            raise DeviceUnavailable(f"{file} is too large to be a specification of devices")
        content = file.read_bytes()
        decode = msgspec.json.decode if file.suffix == ".json" else msgspec.yaml.decode
        return decode(content, type=_Specification)
    except ImportError as error:
        raise DeviceUnavailable(
            f"{file} is YAML, which takes PyYAML: pip install PyYAML, or let the maker's tool"
            " write JSON (nvidia-ctk cdi generate --format=json)"
        ) from error
    except OSError as error:
        raise DeviceUnavailable(f"{file} can't be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DeviceUnavailable(f"{file} is no specification of devices: {error}") from error


def _parts(file: Path, edits: Sequence[_Edits]) -> Parts:
    left_out = [_hook(each) for edit in edits for each in edit.hooks]
    mounts = []
    for text in (each for edit in edits for each in edit.mounts):
        why = _why_left_out(text)
        if why:
            left_out.append(f"{text.host_path}: {why}")
        else:
            mounts.append(Mount(source=Path(text.host_path), target=text.container_path))
    if any(edit.net_devices for edit in edits):
        raise DeviceUnavailable(f"{file}: network interfaces can't be given to sandboxes")
    said = [each for edit in edits for each in edit.env]
    for each in said:
        if not _VARIABLE.fullmatch(each):
            raise DeviceUnavailable(f"{file}: {each[:80]!r} is no variable")
    return Parts(
        nodes=tuple(
            Node(path=each.path, host_path=each.host_path or each.path)
            for edit in edits
            for each in edit.device_nodes
        ),
        mounts=tuple(mounts),
        variables=tuple((name, value) for name, _, value in (each.partition("=") for each in said)),
        left_out=tuple(left_out),
    )


def _hook(hook: dict[str, Any]) -> str:
    words = " ".join(map(str, hook.get("args") or [hook.get("path", "")]))
    return f"the hook `{words[:100]}`: programs of specifications are not run"


def _why_left_out(mount: _MountText) -> str:
    """ "" for what is shown. Raises DeviceUnavailable for what isn't there."""
    target = mount.container_path
    if not target.startswith("/") or "\0" in target or {"..", "."} & set(target.split("/")):
        return f"{target!r} is no absolute path"
    if target == "/" or any(f"{target}/".startswith(f"{own}/") for own in _OWN):
        return f"{target} is a place of the sandbox's own"
    try:
        kind = Path(mount.host_path).stat().st_mode
    except OSError as error:
        raise DeviceUnavailable(
            f"{mount.host_path}, which belongs to a device, is not there ({error.strerror}); was"
            " the driver updated? write its specification anew"
        ) from error
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        return "neither a file nor a folder"
    return ""
