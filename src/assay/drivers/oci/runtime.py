"""OCI runtimes as data: what to call, and in what they differ."""

from __future__ import annotations

import contextlib
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeMissing
from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import Capabilities, Cleanup
from assay.drivers.linux.program import find


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnKernel:
    """What differs where a runtime brings a kernel: programs are its processes, not the host's.

    The host's groups hold that kernel as a whole, with all that it runs. What one program may have
    is for the kernel itself to say.
    """

    file_server: str
    """The title of the runtime's process that opens the sandbox's files on the host, and so is
    whom the host meets at the agent's socket. It ends with the kernel, and the kernel with it."""
    memory_bytes: int
    """What the kernel needs itself, on top of what the sandbox may have."""
    processes: int
    """Its threads, and its file server's."""
    processes_for_each: int
    """What it takes of the host to run one process of the sandbox."""
    bytes_for_each: int
    """The least memory that any of these takes: a limit that memory can't reach would be none."""

    def room(self, limits: SandboxLimits) -> SandboxLimits:
        """The limits of the whole, in which a sandbox comes to its own before the kernel does."""
        memory = limits.memory_bytes + self.memory_bytes
        wanted = self.processes + limits.processes * self.processes_for_each
        return replace(
            limits, memory_bytes=memory, processes=min(wanted, memory // self.bytes_for_each)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Older:
    """What versions of a runtime can do that are from before a day."""

    than: str
    """Such as "20240729", which is how their versions are called, too."""
    capabilities: Capabilities


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A program with the command line of runc: `PROGRAM [OPTIONS] run --bundle FOLDER ID`."""

    name: str
    """The driver's name, too."""
    program: str
    """A name on PATH, or a path."""
    package: str
    """Debian's package of it."""
    options: tuple[str, ...] = ()
    """Before the sub-command."""
    options_without_groups: tuple[str, ...] = ()
    """The same, where there are no control groups for it to use."""
    filter_file: str = ""
    """Where in its own folder it leaves the compiled seccomp filter, if it does."""
    filter_annotation: str = ""
    """The annotation by which it takes a compiled filter, rather than spend 5 ms on a new one."""
    wants_every_hierarchy: bool = True
    """Whether it fails where one of version 1, such as cpuset, is out of its sight."""
    own_kernel: OwnKernel | None = None
    """None: programs run on the host's."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    """Of a version of today."""
    older: Older | None = None

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"apt-get install {self.package}"

    def find(self) -> Path:
        """The program's path. Raises RuntimeMissing."""
        return find(self.program, self.remedy)

    def able(self) -> Capabilities:
        """What the version on this machine can do."""
        if self.older is None:
            return self.capabilities
        with contextlib.suppress(RuntimeMissing, OSError, subprocess.TimeoutExpired):
            made = re.search(r"20\d{6}", self.version())
            if made and made[0] < self.older.than:
                return self.older.capabilities
        return self.capabilities

    def version(self) -> str:
        """What the program says of itself, such as "1.8.1"; empty if it says nothing."""
        answer = subprocess.run(
            [self.find(), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        words = answer.stdout.split("\n", 1)[0].split()
        return words[-1] if words else ""


_OF_THE_HOST: Final = Capabilities(devices=True)
CRUN = Runtime(
    name="crun",
    program="crun",
    package="crun",
    options=("--cgroup-manager=cgroupfs",),
    options_without_groups=("--cgroup-manager=disabled",),
    wants_every_hierarchy=False,
    filter_file="seccomp.bpf",
    filter_annotation="run.oci.seccomp_bpf_data",
    capabilities=_OF_THE_HOST,
)
RUNC = Runtime(name="runc", program="runc", package="runc", capabilities=_OF_THE_HOST)
_GVISOR_BYTES: Final = 128 * MIB
_GVISOR: Final = Capabilities(
    own_kernel=True,
    kernel_memory_bytes=_GVISOR_BYTES,
    oom_spares_sandbox=False,
    bombs_spare_sandbox=False,
    private_processes=False,
    exact_cpu_time=False,
    cleanup=Cleanup.KILL_ALL,
)
RUNSC = Runtime(
    name="runsc",
    program="runsc",
    package="runsc",
    # Which platform is best is left to each version: ptrace once, systrap since 2023. Sockets are
    # made on the host, in the sandbox's tmpfs, for the sake of the agent's; overlays hide others.
    options=("--network=none", "--host-uds=all", "--overlay2=none", "--oci-seccomp"),
    own_kernel=OwnKernel(
        # A process is a process of the host's in the end, with a thread for each of the kernel's
        # own that has run it, which stay (ptrace: 8 were counted soon after a start, and 50 after
        # storms). Refused one, the kernel ends; so memory, 77 KiB for each, is to run out first.
        file_server="runsc-gofer",
        memory_bytes=_GVISOR_BYTES,
        processes=1024,
        processes_for_each=64,
        bytes_for_each=48 * 1024,
    ),
    capabilities=_GVISOR,
    # Seen to work in 20240729, and not in 20221219.
    older=Older(
        than="20240729", capabilities=replace(_GVISOR, terminal_keys=False, socket_files=False)
    ),
)
