"""What containers are like that an engine makes all by itself, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from assay.domain.limits import SandboxLimits
from assay.driver.port import Capabilities
from assay.drivers.linux import seccomp
from assay.drivers.linux.confinement import SOCKET
from assay.drivers.linux.container import ABLE, room

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


SHARED: Final = Kind(capabilities=ABLE, room=room)
"""Of runc, crun and their like: programs run on the kernel of the engine's machine."""
KATA: Final = Kind(
    capabilities=replace(ABLE, own_kernel=True, own_users=True, socket_memory=True),
    room=room,
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
