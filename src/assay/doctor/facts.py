"""What was read from a machine: frozen values, in which None means that it could not be read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from assay.driver.port import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """The kernel, and what it runs on."""

    release: str | None = None
    """As uname says it, such as "6.1.0-37-amd64"."""
    architecture: str | None = None
    distribution: str | None = None
    command_line: str | None = None
    hypervisor: str | None = None
    """Whose virtual machine this is, such as "kvm"; "" on the metal."""
    container: str | None = None
    """What kind of container this is, such as "docker"; "" outside of one."""
    init: str | None = None
    """The name of process 1, such as "systemd"."""
    clock_source: str | None = None
    entropy_bits: int | None = None

    @property
    def version(self) -> tuple[int, int] | None:
        """The first two numbers of the release."""
        numbers = (self.release or "").split("-", 1)[0].split(".")
        if len(numbers) < 2 or not (numbers[0].isdecimal() and numbers[1].isdecimal()):
            return None
        return int(numbers[0]), int(numbers[1])

    def has_parameter(self, parameter: str) -> bool:
        """Whether it was started with this word on its command line."""
        return parameter in (self.command_line or "").split()


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlGroups:
    """Which control groups are mounted, and what this process may do with them."""

    version_1: frozenset[str] | None = None
    """Controllers of version 1 that are mounted."""
    version_2: str | None = None
    """Where version 2 is mounted; "" if it is not."""
    read_only: bool = False
    """The first one found is mounted read-only."""
    offered: frozenset[str] | None = None
    """Controllers of version 2 at the top that this machine or container sees."""
    delegated: frozenset[str] | None = None
    """Controllers of this process's own group of version 2; empty if it can't be written."""
    given: frozenset[str] | None = None
    """Controllers of version 1 in whose hierarchies this user has a folder, assay-UID."""
    top_is_below: bool | None = None
    """The top is a container's own group, in whose parents we can't look."""
    top_has_processes: bool | None = None
    own_process_limit: int | None = None
    """Of the group of this process, such as systemd's TasksMax; None also for no limit."""
    swap_is_counted: bool | None = None

    @property
    def layout(self) -> str | None:
        """v1, v2, hybrid (both are mounted) or none."""
        if self.version_1 is None or self.version_2 is None:
            return None
        if self.version_1:
            return "hybrid" if self.version_2 else "v1"
        return "v2" if self.version_2 else "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rights:
    """What this process may do."""

    uid: int | None = None
    user: str | None = None
    effective: int | None = None
    """Capabilities, as a set of bits."""
    bounding: int | None = None
    no_new_privileges: bool | None = None
    seccomp_mode: int | None = None
    seccomp_actions: frozenset[str] | None = None
    whole_user_range: bool | None = None
    """False in a user namespace that holds some of the ids only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UserNamespaces:
    """Whether, and how many, sandboxes can have users of their own."""

    there: bool | None = None
    most: int | None = None
    apparmor_restricts: bool | None = None
    debian_forbids: bool | None = None
    subordinate_uids: int | None = None
    """The largest range of /etc/subuid that this user has."""
    subordinate_gids: int | None = None
    first_free_id: int = 100_000
    """Above every range in /etc/subuid and /etc/subgid."""
    mapping_programs: bool | None = None
    """newuidmap and newgidmap are there."""
    mapping_programs_gain_rights: bool | None = None
    """They are set-user-id, or have capabilities of their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """How an ordinary user is logged in."""

    runtime_folder: str | None = None
    """$XDG_RUNTIME_DIR; "" if it is not set."""
    lingers: bool | None = None
    """systemd keeps the user's processes, and that folder, after the last logout."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory, swap, and what happens without either."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    swap_bytes: int | None = None
    overcommit: int | None = None
    panic_on_oom: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the kernel allows to this process, and to all together."""

    open_files: int | None = None
    """The hard limit; -1 for none. Likewise below."""
    processes: int | None = None
    file_max: int | None = None
    pid_max: int | None = None
    threads_max: int | None = None
    mount_max: int | None = None
    keys_of_root: int | None = None
    keys_of_users: int | None = None
    inotify_instances: int | None = None
    namespaces: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """The most namespaces of each kind ("mnt", "net", …) that a user may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """The file system of the state folder."""

    folder: str
    kind: str | None = None
    free_bytes: int | None = None
    free_inodes: int | None = None
    """-1 where the file system makes them as needed."""
    read_only: bool = False
    writable: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardening:
    """What stands beside the sandbox's own walls."""

    core_pattern: str | None = None
    ptrace_scope: int | None = None
    """Yama's; -1 without Yama."""
    legacy_tiocsti: bool | None = None
    vsyscall: str | None = None
    """none, xonly or emulate."""
    hidepid: str | None = None
    """The option of /proc; "" without it."""
    panic_on_warn: bool | None = None
    protections: Mapping[str, int] | None = None
    """Of files in shared folders: "symlinks", "hardlinks", "fifos", "regular"; 0 is off."""
    apparmor: bool | None = None
    apparmor_profile: str | None = None
    """Of this process."""
    selinux: str | None = None
    """enforcing, permissive, or "" without SELinux."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Processors:
    """The processors and what their makers had to admit."""

    count: int | None = None
    threads_share_cores: bool | None = None
    """Simultaneous multi-threading is on."""
    vulnerabilities: Mapping[str, str] | None = None
    """The kernel's own words for each: "Not affected", "Mitigation: …", "Vulnerable…"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kvm:
    """Hardware virtualisation."""

    there: bool | None = None
    """/dev/kvm exists."""
    error: str = ""
    """Why it could not be opened: the errno's name."""
    api: int | None = None
    """The version of its interface, 12 in every kernel of today."""
    processor_can: bool | None = None
    """The processor's flags have vmx or svm."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """Debian's package of a program."""

    name: str
    version: str
    changelog: str | None = None
    """Its text, for the fixes that a distribution has added to an old version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A container or virtual machine runtime that is on PATH."""

    name: str
    """As in `advisories`, such as "runc"."""
    path: str
    version: str | None = None
    """What it says of itself, such as "1.1.5+ds1"."""
    package: Package | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """A device that environments may have."""

    name: str
    problem: str = ""
    """Why it can't be shown now; "" when it can."""
    left_out: tuple[str, ...] = ()
    """What its maker says belongs to it, and is not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TechnologyFacts:
    """One of those that sandboxes can be made with."""

    name: str
    problems: tuple[Problem, ...] = ()
    """What it lacks, and how to get it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """All that the checks look at."""

    kernel: Kernel = field(default_factory=Kernel)
    groups: ControlGroups = field(default_factory=ControlGroups)
    rights: Rights = field(default_factory=Rights)
    users: UserNamespaces = field(default_factory=UserNamespaces)
    login: Login = field(default_factory=Login)
    memory: Memory = field(default_factory=Memory)
    limits: Limits = field(default_factory=Limits)
    storage: Storage = field(default_factory=lambda: Storage(folder="/"))
    hardening: Hardening = field(default_factory=Hardening)
    processors: Processors = field(default_factory=Processors)
    kvm: Kvm = field(default_factory=Kvm)
    programs: tuple[Program, ...] = ()
    devices: tuple[DeviceFacts, ...] = ()
    """Those that the operator allows environments to have."""
    technologies: tuple[TechnologyFacts, ...] = ()
    sandboxes: int = 500
    """How many the operator wants at a time."""
    today: datetime.date = datetime.date.min

    @property
    def is_root(self) -> bool:
        """Whether this process is root, if only in its user namespace."""
        return self.rights.uid == 0
