"""The monitor QEMU, its machine "microvm": by KVM where that works, else translated (TCG)."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Final

from assay.domain.errors import RuntimeMissing
from assay.domain.limits import MIB
from assay.driver.port import ByteStream, Problem
from assay.drivers.linux.confinement import machine as architecture
from assay.drivers.microvm.folder import MachineFolder
from assay.drivers.microvm.identity import READY, hear
from assay.drivers.microvm.link import open_port
from assay.drivers.microvm.machine import Kept, Machine, Place, Running, launch
from assay.drivers.microvm.qmp import Control

_PACKAGES: Final = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS_TO_BOOT: Final = 90.0
_SECONDS_TO_KEEP: Final = 30.0
_RULES: Final = 2
"""Part of the identity: raise it when machines are made in another way."""
_ALWAYS: Final = (
    "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
)  # fmt: skip
_SEALED: Final = (
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
)
_TRANSLATED_MIB: Final = 128
_TRANSLATED_PROCESSOR: Final = "max,-erms,-fsrm"
_TRANSLATED: Final = "mitigations=off clearcpuid=112"  # by number: Linux 6.1 knows no names
"""A kernel that is told so, and C libraries too, don't copy and clear by instructions that repeat
themselves (erms, fsrm; 112 is rep_good): those are translated into a loop over bytes, or words."""
_HEAD_BYTES: Final = 64 * 1024
"""Of kernel and initial RAM disk, for a machine that is restored: QEMU wants to see some, holds all
that it is given in memory, and nobody reads it again."""
_IDLE_FOR_EACH: Final = 10
"""Machines that do nothing, for each processor."""


class Qemu:
    """QEMU's program for this machine's architecture, on PATH or at a path."""

    name = "qemu"
    ports = 16

    def __init__(self, program: str = "") -> None:
        self._program = program or f"qemu-system-{architecture()}"

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"apt-get install {_PACKAGES.get(architecture(), 'qemu-system')}"

    def find(self) -> Path:
        """The program. Raises RuntimeMissing."""
        found = shutil.which(self._program) or shutil.which(self._program, path=_PATH)
        if found is None:
            raise RuntimeMissing(
                f"the program {self._program} is not on this machine; install it: {self.remedy}"
            )
        return Path(found)

    @cached_property
    def version(self) -> str:
        """Such as 7.2.22. Raises RuntimeMissing."""
        answer = subprocess.run(
            [self.find(), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        found = re.search(r"version (\S+)", answer.stdout)
        return found[1] if found else "unknown"

    @property
    def most_at_once(self) -> tuple[int, str] | None:
        """A machine that is translated takes 2 to 3 % of a processor while it does nothing."""
        if self._native:
            return None
        processors = len(os.sched_getaffinity(0))
        reason = (
            f"without KVM an idle machine takes 2 to 3 % of a processor, of which there are"
            f" {processors}"
        )
        return processors * _IDLE_FOR_EACH, reason

    def problems(self) -> list[Problem]:
        """What is not on this machine."""
        try:
            self.find()
        except RuntimeMissing as error:
            return [Problem(summary=error.message, remedy=self.remedy)]
        return []

    @cached_property
    def accelerator(self) -> str:
        """ "kvm" where the processor's own virtualization can be used, else "tcg".

        A /dev/kvm alone says little: one that runs without those of the processor (PVM) runs no
        ordinary kernel.
        """
        usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
        flags = Path("/proc/cpuinfo").read_text()
        return "kvm" if usable and re.search(r"\b(vmx|svm)\b", flags) else "tcg"

    @property
    def identity(self) -> str:
        """A machine can be restored by the version that kept it, on the same processor."""
        model = re.findall(r"^(?:model name|flags|Features)\s*:.*", _processor(), re.M)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text() if self._native else ""
        options = f"{_ALWAYS} {_TRANSLATED_PROCESSOR} {self._arguments()}"
        return f"{_RULES} {self.version} {self.accelerator} {model} {boot} {options}"

    @property
    def _native(self) -> bool:
        return self.accelerator == "kvm"

    def keep(self, machine: Machine, place: Place, memory: Path, state: Path) -> None:
        """Boot a machine, and keep it as it waits for who to be."""
        with ExitStack() as stack:
            ram, kept = (stack.enter_context(each.open("xb")) for each in (memory, state))
            ram.truncate(machine.memory_mib * MIB)
            os.chown(memory, place.user, place.user)
            process, ours = self._start(machine, place, ram.fileno(), kept=False)
            stack.enter_context(ours)
            stack.callback(process.end)
            hear(self.meet(place, process), READY, place.watch, process.has_ended, _SECONDS_TO_BOOT)
            Control(ours, _SECONDS_TO_KEEP).keep(kept.fileno(), _SECONDS_TO_KEEP)
            os.chown(memory, 0, 0)

    def restore(self, kept: Kept, place: Place) -> Running:
        """Go on with a kept machine; it writes to a copy of its memory."""
        with kept.state.open("rb") as state:
            process, ours = self._start(kept.machine, place, kept.memory, kept=True)
            try:
                with ours:
                    Control(ours, _SECONDS_TO_KEEP).restore(state.fileno(), _SECONDS_TO_KEEP)
            except BaseException:
                process.end()
                raise
        return process

    def meet(self, place: Place, running: Running) -> socket.socket:
        """It was connected before the machine was there."""
        assert place.host is not None  # since we have ports
        return place.host

    async def open(self, folder: MachineFolder, seconds: float) -> ByteStream:
        """A stream to the agent, over a port that nobody else has."""
        return await open_port(folder, seconds)

    def _start(
        self, machine: Machine, place: Place, memory: int, *, kept: bool
    ) -> tuple[Running, socket.socket]:
        """The process, and the socket that controls it."""
        ours, its = socket.socketpair()
        with ExitStack() as stack:
            stack.enter_context(its)
            disk: IO[bytes] = stack.enter_context(machine.disk.open("rb"))
            most = _HEAD_BYTES if kept else None
            kernel = stack.enter_context(_readable(machine.kernel, most))
            initrd = stack.enter_context(_readable(machine.initrd, most))
            command = [
                self.find(), *_ALWAYS, *_SEALED,
                *self._board(machine), *_memory(machine, memory, shared=not kept),
                "-kernel", _by_number(kernel), "-initrd", _by_number(initrd),
                "-append", self._arguments(), *_disk(disk.fileno()), *_ports(place.ports),
                "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
                "-chardev", f"socket,id=control,fd={its.fileno()}",
                "-mon", "chardev=control,mode=control",
                *(("-incoming", "defer") if kept else ()),
            ]  # fmt: skip
            keep = [each.fileno() for each in (disk, kernel, initrd)]
            keep += [its.fileno(), *(each.fileno() for each in place.ports)]
            written = MIB if kept else (machine.memory_mib + 1) * MIB
            try:
                return launch(command, place, [*keep, memory], written), ours
            except BaseException:
                ours.close()
                raise

    def _board(self, machine: Machine) -> list[str]:
        translating = f",tb-size={_TRANSLATED_MIB}" if not self._native else ""
        processor = "host" if self._native else _TRANSLATED_PROCESSOR
        return [
            "-machine", "microvm,memory-backend=memory", "-accel",
            f"{self.accelerator}{translating}", "-cpu", processor,
            "-smp", str(machine.processors), "-m", f"{machine.memory_mib}M",
        ]  # fmt: skip

    def _arguments(self) -> str:
        """Of the kernel."""
        translated = "" if self._native else f" {_TRANSLATED} {_clock(_processor())}"
        return (
            f"console=ttyS0 quiet loglevel=3 reboot=t panic=-1 rdinit=/init random.trust_cpu=on"
            f" audit=0 apparmor=0 psi=0{translated}"
        )


def _clock(processor: str) -> str:
    """How fast the counter runs that a translated machine has from this one, of what it says.

    The kernel would measure it for ever. Told the truth, it trusts the counter, and sleeps while
    there is nothing to do; otherwise a tick wakes it 250 times a second and is all its clock.
    """
    steady = {"constant_tsc", "nonstop_tsc"} <= set(processor.split())
    found = re.search(r"^bogomips\s*: (\d+)\.(\d\d)$", processor, re.M)
    if not steady or found is None:
        return "tsc_early_khz=1000000"
    # Which is twice the counter's MHz wherever the counter is steady.
    return f"tsc_early_khz={int(found[1] + found[2]) * 5} tsc=reliable"


def _by_number(opened: IO[bytes]) -> str:
    """A path to it that leads through none of the host's folders, which nobody may enter."""
    return f"/proc/self/fd/{opened.fileno()}"


@contextmanager
def _readable(path: Path, most: int | None) -> Iterator[IO[bytes]]:
    """A file, or its beginning, for who may read none of root's: some kernels are root's alone."""
    with path.open("rb") as opened:
        if most is None and os.fstat(opened.fileno()).st_mode & stat.S_IROTH:
            yield opened
            return
        copied = os.memfd_create(path.name, os.MFD_CLOEXEC)
        with os.fdopen(copied, "w+b") as copy:
            head = opened.read(most)
            # Of a program (ELF) QEMU wants to see every part that it names.
            copy.write(head + opened.read() if head.startswith(b"\x7fELF") else head)
            copy.flush()
            yield copy


def _memory(machine: Machine, memory: int, *, shared: bool) -> list[str]:
    share = "on" if shared else "off"
    return [
        "-object",
        f"memory-backend-file,id=memory,size={machine.memory_mib}M,"
        f"mem-path=/proc/self/fd/{memory},share={share}",
    ]


def _disk(descriptor: int) -> list[str]:
    return [
        "-add-fd", f"fd={descriptor},set=1",
        "-drive", "id=disk,file=/dev/fdset/1,format=raw,if=none,readonly=on,file.locking=off",
        "-device", "virtio-blk-device,drive=disk",
    ]  # fmt: skip


def _ports(listeners: Sequence[socket.socket]) -> list[str]:
    options = ["-device", f"virtio-serial-device,max_ports={len(listeners) + 1}"]
    for number, listener in enumerate(listeners):
        options += [
            "-chardev", f"socket,id=port{number},fd={listener.fileno()},server=on,wait=off",
            "-device", f"virtserialport,chardev=port{number},name=port{number},nr={number + 1}",
        ]  # fmt: skip
    return options


def _processor() -> str:
    return Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
