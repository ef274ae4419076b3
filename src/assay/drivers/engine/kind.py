"""What containers are like that an engine makes all by itself, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import Capabilities, Cleanup
from assay.drivers.linux import seccomp
from assay.drivers.linux.cgroups import AGENTS_OWN
from assay.drivers.linux.confinement import SOCKET

_AGENTS_BYTES: Final = 16 * MIB
"""What the agent and a few bridges to it need themselves, in the group that they share with the
learners' programs."""
_AGENTS_PROCESSES: Final = AGENTS_OWN + 16
NAMED_SOCKET: Final = "@assay-agent"
"""One that is in no file system, so that nobody can put another in its place."""
_KATA_SHIM: Final = "io.containerd.kata.v2"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """Containers of one sort of runtimes."""

    capabilities: Capabilities
    room: Callable[[SandboxLimits], SandboxLimits]
    """The limits of a whole container, in which its programs come to their own."""
    filter: Callable[[str], dict[str, Any]] = seccomp.profile
    """Of system calls, by the name of a processor's architecture."""
    socket: str = SOCKET
    """Where the agent listens."""
    masks: bool = True
    """Whether there is something of the host's to mask."""

    @property
    def own_kernel(self) -> bool:
        """Whether each has a kernel of its own."""
        return self.capabilities.own_kernel


def _shared_room(limits: SandboxLimits) -> SandboxLimits:
    return replace(
        limits,
        memory_bytes=limits.memory_bytes + _AGENTS_BYTES,
        processes=limits.processes + _AGENTS_PROCESSES,
    )


_DISTANT: Final = Capabilities(
    cleanup=Cleanup.KILL_ALL,
    whole_cpu_time=False,
    own_users=False,
    kernel_memory_bytes=_AGENTS_BYTES,
    oom_spares_sandbox=False,
    bombs_spare_sandbox=False,
    private_processes=False,
    direct_stream=False,
    socket_memory=False,
    inert_mounts=False,
    prompt_ends=False,
    images_in_place=False,
)
SHARED: Final = Kind(capabilities=_DISTANT, room=_shared_room)
"""Of runc, crun and their like: programs run on the kernel of the engine's machine."""
KATA: Final = Kind(
    capabilities=replace(_DISTANT, own_kernel=True, own_users=True, socket_memory=True),
    room=_shared_room,
)
"""A virtual machine for each. Unverified: it has not run yet."""


def is_gvisor(runtime: str) -> bool:
    """Whether a runtime of that name is gVisor."""
    return "runsc" in runtime


def is_kata(runtime: str) -> bool:
    """Whether it is Kata."""
    return "kata" in runtime


def as_the_engine_says(runtime: str) -> str:
    """The name by which engines find a runtime. Kata's shim is none that they are told of."""
    return _KATA_SHIM if runtime == "kata" else runtime
