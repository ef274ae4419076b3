"""The contract of a driver: it makes, finds and destroys sandboxes, and opens a byte stream.

Everything else (commands, files, limits of an execution, measurements) is the agent's, which
the driver starts as process 1 of every sandbox. A driver is done when `assay driver check NAME`
is green.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from assay.domain.command import LEARNER_UID, WORKSPACE
from assay.domain.devices import Device
from assay.domain.errors import InvalidInput
from assay.domain.limits import SandboxLimits


class Secret:
    """32 random bytes that open one sandbox's agent; they never appear in a text."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != 32:
            raise InvalidInput("a sandbox's secret has 32 bytes")
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the one who sends or stores them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """All servers of one database: one owner of what they make, whatever machine they run on."""

    key: Secret
    """Known to these servers alone."""
    epoch: Callable[[], int]
    """Of the server that asks: the higher one has what two of them believe to have."""

    def mark(self, name: str) -> str:
        """16 letters by which a driver knows what is theirs; they don't tell the key."""
        keyed = hmac.digest(self.key.reveal(), f"mark\0{name}".encode(), "sha256")
        return keyed.hex()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mount:
    """A folder or file of the host that a sandbox sees, read-only."""

    source: Path
    target: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RootFilesystem:
    """A read-only root, shared by every sandbox of an image.

    `path` holds the folders `proc`, `dev`, `tmp`, `workspace` and `.assay` for the driver to
    mount over; `mounts` are shown inside it read-only, without set-user-id bits and devices.
    """

    digest: str
    path: Path
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    user: int = LEARNER_UID
    """The learner's user id, and group: who owns what a sandbox may write."""
    group: int = LEARNER_UID
    working_folder: str = WORKSPACE
    """Where programs start and files are put: writable, with what the image has there in it."""
    folders: tuple[str, ...] = ()
    """More that its user may write, empty at first: names in the root folder, such as "/archive",
    which an image that has the same name must have as a folder."""
    owners: bool = False
    """Its files belong to users of the image, ids 0 to 65535 as they are on disk, and sandboxes
    see them so; otherwise everything belongs to nobody that a sandbox knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSpec:
    """What the caller wants. The caller keeps the secret; the driver only hands it to the agent."""

    root: RootFilesystem
    secret: Secret
    limits: SandboxLimits = field(default_factory=SandboxLimits)
    network: bool = False
    devices: tuple[Device, ...] = ()
    """Of the host, by name, and allowed by its operator. What a name stands for is looked up when
    the sandbox is made, by who makes it: a remote engine's host has devices of its own."""
    unclaimed_seconds: int = 900
    """The agent ends the sandbox when no host has been connected to it for so long."""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A sandbox that exists, its agent ready to be connected to."""

    id: str
    """Unguessable, and part of the names of what the driver makes on the host for it (control
    groups, folders): who looks for what was left behind finds it by its id."""
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the driver knows of it, for operators to read. "process", where there is one on this
    machine, is the host's number of its process 1."""


class Cleanup(StrEnum):
    """How the agent makes sure that nothing of an execution survives it, surest first."""

    CGROUP_KILL = "cgroup-kill"
    PROCESS_NAMESPACE = "process-namespace"
    KILL_ALL = "kill-all"
    STOP_WALK = "stop-walk"


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a driver can do, as data; what it cannot is refused with a clear error."""

    reattachment: bool = True
    """A sandbox outlives its server, and its byte stream can be opened again."""
    cleanup: Cleanup = Cleanup.CGROUP_KILL
    oom_facts: bool = True
    privilege_separation: bool = True
    disk_limit: bool = True
    inode_limit: bool = True
    memory_limit: bool = True
    process_limit: bool = True
    cpu_limit: bool = True
    exact_cpu_time: bool = True
    """CPU time is what programs had of the processors. Otherwise threads that wait for one are
    counted as well, and many of them come to their limit early: up to all processors' time."""
    whole_cpu_time: bool = True
    """It counts every process. Otherwise those that end unseen, as nobody waits for them, are
    missed, and a program that makes many of them ends at its wall time only."""
    own_devices: bool = True
    """Its /dev/null and the like are not the host's, whose locks everybody would see."""
    own_users: bool = True
    """What the kernel counts for a user (queued signals, descriptors in flight) it counts for each
    sandbox. Otherwise they have their users in common, and one can take all that there is."""
    network_off: bool = True
    network_on: bool = False
    own_kernel: bool = False
    """What the kernel says about an execution comes from a kernel of the sandbox's own."""
    kernel_memory_bytes: int = 0
    """What a kernel of the sandbox's own may need on top of the limit. Programs can come by what
    it does not need, before they are out of memory."""
    oom_spares_sandbox: bool = True
    """Out of memory, one execution ends. Otherwise the whole sandbox does, when the host's kernel
    knows no smaller part of it; the outcome is the right one all the same."""
    bombs_spare_sandbox: bool = True
    """Programs that multiply end at the limit of processes, or of time, and leave their sandbox
    usable. Otherwise they may take from its kernel what that needs itself, processes of the host
    or time on a processor, and then the sandbox is lost, for just that reason."""
    private_processes: bool = True
    """Learners see nothing of privileged programs and of the agent. Otherwise they can read in
    /proc their numbers, arguments, environments and addresses: no secrets may be there."""
    masks: bool = True
    """What /proc says of the host and its other programs (its memory's pages, its kernel's tables)
    is hidden, by a list of our own. Otherwise an engine's shorter one holds."""
    direct_stream: bool = True
    """Nothing is between the server and the agent. Otherwise processes carry the byte stream: a
    privileged program that kills all processes ends the connection (the agent remains, to be
    connected to), and what they hold of a flood comes before a keystroke's echo."""
    socket_memory: bool = True
    """What sockets of TCP and UDP hold counts as memory. Otherwise it may not: version 1 of control
    groups counts it apart, and only if the runtime asks."""
    inert_mounts: bool = True
    """No mount honours set-user-id bits or device nodes. Otherwise it is no_new_privs and the
    rule of devices alone that make them harmless."""
    prompt_ends: bool = True
    """What is killed is gone in a second. Otherwise Linux may hold programs that owe processor
    time for up to six (their group's share is used up), and a sandbox that ended as a whole may be
    known by its agent's silence only, after fifteen. An execution that took all memory may be lost
    then, and nobody knows why."""
    own_terminals: bool = True
    """How many terminals a sandbox can have does not depend on others. Otherwise one can take all
    that its machine gives to sandboxes."""
    terminal_keys: bool = True
    """Ctrl-C, Ctrl-D and their like do in a terminal what they do everywhere."""
    socket_files: bool = True
    """A socket's file can be looked at like any other; otherwise that may end its sandbox."""
    interpreters: bool = True
    """A Python can wait in its sandboxes for the next program (an environment's `preimport`)."""
    images_in_place: bool = True
    """An image is shown as it lies on the host. Otherwise the first sandbox of each waits until it
    has been copied, which for `host`, all of /usr, takes minutes."""
    pause: bool = False
    snapshot: bool = False
    devices: bool = False
    """Devices of the host can be shown in its sandboxes, for learners to read and write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that is wrong on this machine, and the exact command that mends it."""

    summary: str
    remedy: str = ""

    @property
    def explained(self) -> str:
        """Both, each said once."""
        known = self.remedy in self.summary
        return self.summary if known else f"{self.summary}: {self.remedy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether a driver works on this machine; `version` is the technology's own."""

    works: bool
    version: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxState:
    """What the host can say of a sandbox without its agent."""

    running: bool
    oom_kills: int | None = None
    cpu_ns: int | None = None
    memory_bytes: int | None = None
    """Memory of the programs now, without the agent's."""
    processes_refused: int | None = None
    """How often the host would not start a process, the sandbox being at its limit of them."""
    lost: str = ""
    """Why it is lost though nobody has seen it end, where the driver knows: its machine is gone."""


@runtime_checkable
class ByteStream(Protocol):
    """Bytes in both directions, in order; one reader and one writer at a time."""

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" once the other side has closed.

        Raises ConnectionLost when the stream breaks.
        """
        ...

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`; waits while the other side is slow.

        Raises ConnectionLost when the stream breaks.
        """
        ...

    async def aclose(self) -> None:
        """Close both directions. Never raises; may be called twice."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """What a driver may do besides: make sandboxes ahead, but for what they are of."""

    @property
    def prepared(self) -> int:
        """How many are ready."""
        ...


@runtime_checkable
class Leaves(Protocol):
    """What a driver may say besides: which of its sandboxes are where they should not stay."""

    def leaving(self) -> Collection[str]:
        """Ids of sandboxes that others should take the place of while nobody has them: their
        machine is to be emptied, say. Asked every second, so it looks at what is known already.
        """
        ...


@runtime_checkable
class Shared(Protocol):
    """What a driver may be besides: one whose sandboxes are reached from every machine that it
    runs on, so that servers can take over from one another wherever they are.
    """

    def share(self, installation: Installation) -> None:
        """Have all sandboxes in common with the installation's other servers, and none with who
        uses this state folder otherwise. Called before anything is asked of the driver.
        """
        ...


@runtime_checkable
class Driver(Protocol):
    """An adapter for one isolating technology. Its methods may run at the same time."""

    @property
    def name(self) -> str:
        """The name in `--driver`, such as "crun"."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this driver can do on this machine."""
        ...

    async def probe(self) -> Health:
        """Say whether the technology works here, by trying it. Never raises."""
        ...

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections.

        Leaves nothing behind when it raises (DriverError) or is cancelled.
        """
        ...

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        ...

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of this driver on this machine, those of earlier servers too."""
        ...

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the host knows of a sandbox, or None when there is no such sandbox."""
        ...

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it. An unknown id is no error."""
        ...

    async def aclose(self) -> None:
        """Let go of the driver's own resources. Sandboxes go on."""
        ...
