"""The monitor Firecracker, in its jailer: told what to do over HTTP on a socket.

UNVERIFIED: it needs KVM, and has not run where this was written. Its requests are checked against
the published description of its interface; all else is what QEMU's machines do, too.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from assay.domain.errors import ConnectionLost, RuntimeFailed, RuntimeMissing, SandboxGone
from assay.domain.limits import MIB
from assay.driver.port import ByteStream, Problem
from assay.driver.stream import SocketStream
from assay.drivers.microvm.folder import MachineFolder
from assay.drivers.microvm.guest_kernel import program_of
from assay.drivers.microvm.identity import READY, hear
from assay.drivers.microvm.machine import Kept, Machine, Place, Running, launch

_REMEDY: Final = (
    "take firecracker and jailer of one release from"
    " https://github.com/firecracker-microvm/firecracker/releases into /usr/local/bin"
)
_API: Final = "api.sock"
_VSOCK: Final = "v.sock"
_WAITS: Final = b"guest: ready"
_IDENTITY_PORT, _AGENT_PORT = 1024, 1025
_GUEST: Final = 3
_SECONDS: Final = 30.0
_ARGUMENTS: Final = (
    "console=ttyS0 quiet loglevel=3 reboot=k panic=-1 pci=off rdinit=/init random.trust_cpu=on"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request of its interface; what is answered well has no content."""

    method: str
    path: str
    body: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def to_boot(machine: Machine) -> Iterator[Request]:
    """What makes a machine, and starts it."""
    size = {
        "vcpu_count": machine.processors,
        "mem_size_mib": machine.memory_mib,
        "smt": False,
        "track_dirty_pages": False,
    }
    yield Request(method="PUT", path="/machine-config", body=size)
    source = {
        "kernel_image_path": "/kernel",
        "initrd_path": "/initrd",
        "boot_args": _ARGUMENTS,
    }
    yield Request(method="PUT", path="/boot-source", body=source)
    disk = {
        "drive_id": "image",
        "path_on_host": "/disk",
        "is_root_device": False,
        "is_read_only": True,
    }
    yield Request(method="PUT", path="/drives/image", body=disk)
    yield Request(method="PUT", path="/vsock", body={"guest_cid": _GUEST, "uds_path": f"/{_VSOCK}"})
    yield Request(method="PUT", path="/actions", body={"action_type": "InstanceStart"})


def to_keep() -> Iterator[Request]:
    """What stops a machine, and writes it to two files."""
    yield Request(method="PATCH", path="/vm", body={"state": "Paused"})
    files = {"snapshot_type": "Full", "snapshot_path": "/state", "mem_file_path": "/memory"}
    yield Request(method="PUT", path="/snapshot/create", body=files)


def to_restore() -> Iterator[Request]:
    """What makes a kept machine go on."""
    memory = {"backend_type": "File", "backend_path": "/memory"}
    body = {"snapshot_path": "/state", "mem_backend": memory, "resume_vm": True}
    yield Request(method="PUT", path="/snapshot/load", body=body)


def no_virtualization() -> Iterator[Problem]:
    """What keeps monitors that know nothing else from the processor's own virtualization."""
    if not Path("/dev/kvm").exists():
        yield Problem(summary="it needs /dev/kvm", remedy="modprobe kvm")
    elif not re.search(r"\b(vmx|svm|Features)\b", Path("/proc/cpuinfo").read_text()):
        summary = (
            "it needs the processor's own virtualization (vmx or svm): a /dev/kvm without that"
            " (PVM) runs no ordinary kernel"
        )
        yield Problem(summary=summary, remedy="use the driver qemu")


class Firecracker:
    """The programs `firecracker` and `jailer`, on PATH or at a path, the jailer beside it."""

    name = "firecracker"
    ports = 0

    def __init__(self, program: str = "") -> None:
        self._program = program or "firecracker"

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """As many as memory holds."""
        return None

    def find(self) -> tuple[Path, Path]:
        """The programs. Raises RuntimeMissing."""
        found = shutil.which(self._program)
        beside = shutil.which("jailer", path=str(Path(found).parent)) if found else None
        if found is None or beside is None:
            missing = "jailer" if found else self._program
            raise RuntimeMissing(f"the program {missing} is not on this machine; {_REMEDY}")
        return Path(found), Path(beside)

    @cached_property
    def version(self) -> str:
        """Such as 1.9.0. Raises RuntimeMissing."""
        answer = subprocess.run(
            [self.find()[0], "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        found = re.search(r"v?(\d+\.\d+\.\d+)", answer.stdout)
        return found[1] if found else "unknown"

    def problems(self) -> list[Problem]:
        """What is not on this machine: the programs, or virtualization that it can use."""
        problems = []
        try:
            self.find()
        except RuntimeMissing as error:
            problems.append(Problem(summary=error.message, remedy=_REMEDY))
        return [*problems, *no_virtualization()]

    @property
    def identity(self) -> str:
        """A machine can be restored by its version, on the same processor, until the next boot."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return f"firecracker {self.version} {boot} {_ARGUMENTS}"

    def keep(self, machine: Machine, place: Place, memory: Path, state: Path) -> None:
        """Boot a machine, and keep it as it waits for who to be."""
        jail = _jail(place.folder)
        kernel = memory.parent / "kernel"
        kernel.write_bytes(program_of(machine.kernel.read_bytes()))
        _furnish(jail, {"kernel": kernel, "initrd": machine.initrd, "disk": machine.disk})
        for name in ("memory", "state"):
            _give(jail / name, place.user)
        running = self._start(place, (machine.memory_mib + 64) * MIB)
        try:
            self._ask(place, running, to_boot(machine))
            self._wait_until_it_waits(place, running)
            self._ask(place, running, to_keep())
        finally:
            running.end()
        for name, target in (("memory", memory), ("state", state)):
            os.chown(jail / name, 0, 0)
            shutil.move(jail / name, target)
        kernel.unlink()
        shutil.rmtree(place.folder.path / "jail")

    def _wait_until_it_waits(self, place: Place, running: Running) -> None:
        deadline = time.monotonic() + _SECONDS
        while _WAITS not in Path(place.log.name).read_bytes():
            place.watch.look(running.has_ended, deadline)
            time.sleep(0.005)

    def restore(self, kept: Kept, place: Place) -> Running:
        """Go on with a kept machine; it writes to a copy of its memory."""
        files = {
            "disk": kept.machine.disk,
            "memory": kept.state.with_name("ram"),
            "state": kept.state,
        }
        _furnish(_jail(place.folder), files)
        running = self._start(place, MIB)
        try:
            self._ask(place, running, to_restore())
        except BaseException:
            running.end()
            raise
        return running

    def _start(self, place: Place, file_bytes: int) -> Running:
        program, jailer = self.find()
        command: list[str | Path] = [
            jailer, "--id", place.folder.id, "--exec-file", program,
            "--uid", str(place.user), "--gid", str(place.user),
            "--chroot-base-dir", place.folder.path / "jail",
            "--resource-limit", f"fsize={file_bytes}",
            "--", "--api-sock", f"/{_API}",
        ]  # fmt: skip
        return launch(command, place, [], file_bytes, jailed=True)

    def _ask(self, place: Place, running: Running, requests: Iterator[Request]) -> None:
        deadline = time.monotonic() + _SECONDS
        for request in requests:
            ask(self._dial(place, running, _API, deadline), request)

    def _dial(self, place: Place, running: Running, name: str, deadline: float) -> socket.socket:
        """Connect to one of its sockets, as soon as it is there."""
        where = str(_jail(place.folder).relative_to(place.folder.path) / name)
        while True:
            try:
                connection = place.folder.connected(where)
            except (FileNotFoundError, ConnectionRefusedError):
                place.watch.look(running.has_ended, deadline)
                time.sleep(0.001)
            else:
                connection.settimeout(_SECONDS)
                return connection

    def meet(self, place: Place, running: Running) -> socket.socket:
        """The machine's process 1 accepts one connection, and says that it is ready."""
        host = self._dial(place, running, _VSOCK, time.monotonic() + _SECONDS)
        _pass_to(host, _IDENTITY_PORT)
        hear(host, READY, place.watch, running.has_ended, _SECONDS)
        return host

    async def open(self, folder: MachineFolder, seconds: float) -> ByteStream:
        """A stream to the agent, which listens at a vsock itself."""
        try:
            connection = folder.connected(str(_jail(folder).relative_to(folder.path) / _VSOCK))
        except OSError as error:
            raise SandboxGone("the machine no longer listens", detail=str(error)) from error
        try:
            connection.settimeout(seconds)
            _pass_to(connection, _AGENT_PORT)
        except BaseException:
            connection.close()
            raise
        return SocketStream(connection)


def ask(connection: socket.socket, request: Request) -> None:
    """Make a request on a connection of its own. Raises RuntimeFailed with what it answers."""
    client = http.client.HTTPConnection("localhost")
    client.sock = connection
    what = f"{request.method} {request.path}"
    try:
        content = json.dumps(dict(request.body))
        client.request(request.method, request.path, content, _HEADERS)
        answer = client.getresponse()
        said = answer.read(65536).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeFailed(f"Firecracker did not answer {what}", detail=str(error)) from error
    finally:
        client.close()
    if answer.status != http.client.NO_CONTENT:
        raise RuntimeFailed(f"Firecracker refused {what}", detail=f"{answer.status} {said}")


_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json"}
)


def _pass_to(connection: socket.socket, port: int) -> None:
    """Have the monitor pass a connection on to a port of the machine. Raises ConnectionLost."""
    said = b""
    try:
        connection.sendall(f"CONNECT {port}\n".encode())
        while not said.endswith(b"\n") and len(said) < 32:
            byte = connection.recv(1)
            if not byte:
                break
            said += byte
    except OSError as error:
        raise ConnectionLost("the machine does not answer", detail=str(error)) from error
    if not re.fullmatch(rb"OK \d+\n", said):
        raise ConnectionLost("the machine takes no connection", detail=repr(said))


def _jail(folder: MachineFolder) -> Path:
    return folder.path / "jail" / "firecracker" / folder.id / "root"


def _furnish(jail: Path, files: Mapping[str, Path]) -> None:
    """Put files into a jail: by another name for the same, where that can be, else copied."""
    jail.mkdir(parents=True)
    for name, source in files.items():
        try:
            os.link(source, jail / name)
        except OSError:  # another file system
            shutil.copyfile(source, jail / name)
        (jail / name).chmod(0o644)  # nobody's but root's, to be read


def _give(path: Path, user: int) -> None:
    path.touch()
    os.chown(path, user, user)
