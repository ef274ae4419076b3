"""Looks at a machine: the thin shell around the checks. It changes nothing and never raises."""

from __future__ import annotations

import datetime
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

from assay.doctor import parsing
from assay.doctor.facts import (
    ControlGroups,
    DeviceFacts,
    Hardening,
    Kernel,
    Limits,
    Login,
    Machine,
    Memory,
    Processors,
    Program,
    Rights,
    Storage,
    TechnologyFacts,
    UserNamespaces,
)
from assay.doctor.files import Files
from assay.doctor.kvm import look_at_kvm

_KIB = 1024
_SYSCTL = "/proc/sys/"


def collect(
    *,
    state: Path,
    sandboxes: int,
    programs: tuple[Program, ...] = (),
    devices: tuple[DeviceFacts, ...] = (),
    technologies: tuple[TechnologyFacts, ...] = (),
    root: Path = Path("/"),
    today: datetime.date | None = None,
) -> Machine:
    """Read all facts of the machine whose files are beneath `root`.

    `state` is Assay's folder, which need not exist yet, `programs` what was found on PATH,
    `devices` what its operator allows, `technologies` what each lacks.
    """
    files = Files(root)
    return Machine(
        kernel=_kernel(files),
        groups=_groups(files),
        rights=_rights(files),
        users=_users(files),
        login=_login(files),
        memory=_memory(files),
        limits=_limits(files),
        storage=_storage(files, state),
        hardening=_hardening(files),
        processors=_processors(files),
        kvm=look_at_kvm(files),
        programs=programs,
        devices=devices,
        technologies=technologies,
        sandboxes=sandboxes,
        today=today or datetime.datetime.now(tz=datetime.UTC).date(),
    )


def _kernel(files: Files) -> Kernel:
    release = re.search(r'^PRETTY_NAME="?([^"\n]*)', files.text("/etc/os-release") or "", re.M)
    return Kernel(
        release=files.text(_SYSCTL + "kernel/osrelease"),
        architecture=files.text(_SYSCTL + "kernel/arch") or os.uname().machine,
        distribution=release[1] if release else None,
        command_line=files.text("/proc/cmdline"),
        hypervisor=_hypervisor(files),
        container=_container(files),
        init=files.text("/proc/1/comm"),
        clock_source=files.text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        entropy_bits=files.number(_SYSCTL + "kernel/random/entropy_avail"),
    )


_MAKERS = {
    "qemu": "kvm", "kvm": "kvm", "amazon ec2": "kvm", "google": "kvm", "openstack": "kvm",
    "vmware": "vmware", "virtualbox": "virtualbox", "innotek": "virtualbox", "xen": "xen",
    "microsoft corporation": "hyper-v", "parallels": "parallels",
}  # fmt: skip


def _hypervisor(files: Files) -> str | None:
    flags = files.text("/proc/cpuinfo")
    if flags is None:
        return None
    vendor = (files.text("/sys/class/dmi/id/sys_vendor") or "").lower()
    for maker, name in _MAKERS.items():
        if maker in vendor and re.search(r"^flags\b.*\bhypervisor\b", flags, re.M):
            return name
    if (kind := files.text("/sys/hypervisor/type")) is not None:
        return kind
    clocks = files.text("/sys/devices/system/clocksource/clocksource0/available_clocksource")
    if "kvm-clock" in (clocks or ""):
        return "kvm"
    if "hyperv" in (clocks or ""):
        return "hyper-v"
    if re.search(r"^flags\b.*\bhypervisor\b", flags, re.M):
        return "unknown hypervisor"
    return "virtual machine" if files.has("/proc/device-tree/hypervisor") else ""


def _container(files: Files) -> str | None:
    if files.text("/proc/2/comm") == "kthreadd":
        return ""  # the kernel's own threads are seen by its first process namespace alone
    if (told := files.text("/run/systemd/container")) is not None:
        return told or "container"
    for path, name in (("/.dockerenv", "docker"), ("/run/.containerenv", "podman")):
        if files.has(path):
            return name
    environment = files.text("/proc/1/environ")
    told_by_init = re.search(r"(?:^|\0)container=([^\0]*)", environment or "")
    if told_by_init:
        return told_by_init[1] or "container"
    if "microsoft" in (files.text(_SYSCTL + "kernel/osrelease") or "").lower():
        return "wsl"
    return ""


def _groups(files: Files) -> ControlGroups:
    mountinfo = files.text("/proc/self/mountinfo")
    if mountinfo is None:
        return ControlGroups()
    mounted = parsing.mounts(mountinfo)
    own = files.text("/proc/self/cgroup") or ""
    known = {line.split()[0] for line in (files.text("/proc/cgroups") or "").splitlines() if line}
    first = [mount for mount in mounted if mount.kind == "cgroup"]
    second = [mount for mount in mounted if mount.kind == "cgroup2"]
    unified = second[-1].place if second else ""
    group = unified + (parsing.own_group(own) or "").rstrip("/")
    return ControlGroups(
        version_1=frozenset(name for mount in first for name in mount.own_options if name in known),
        version_2=unified,
        read_only=any("ro" in mount.options for mount in (first or second)[:1]),
        offered=_words(files, f"{unified}/cgroup.controllers") if unified else None,
        delegated=_delegated(files, unified, parsing.own_group(own) or "/") if unified else None,
        given=_given(files, [(mount.place, mount.own_options) for mount in first]),
        top_is_below=files.has(f"{unified}/cgroup.type") if unified else None,
        top_has_processes=bool(files.text(f"{unified}/cgroup.procs")) if unified else None,
        own_process_limit=_own_process_limit(files, own, group, [mount.place for mount in first]),
        swap_is_counted=_swap_is_counted(files, unified, group),
    )


def _words(files: Files, path: str) -> frozenset[str] | None:
    text = files.text(path)
    return None if text is None else frozenset(text.split())


def _delegated(files: Files, top: str, own: str) -> frozenset[str]:
    """Of the highest group above ours in which we may make others."""
    path = Path(own.lstrip("/"))
    for group in (*reversed(path.parents), path):
        folder = f"{top}/{group}"
        if files.may_write(f"{folder}/cgroup.subtree_control"):
            return _words(files, f"{folder}/cgroup.controllers") or frozenset()
    return frozenset()


def _given(files: Files, hierarchies: Iterable[tuple[str, Iterable[str]]]) -> frozenset[str]:
    user = _rights(files).uid
    return frozenset(
        name
        for place, names in hierarchies
        if files.may_write(f"{place}/assay-{user}/cgroup.procs")
        for name in names
    )


def _own_process_limit(files: Files, own: str, group: str, places: list[str]) -> int | None:
    path = parsing.own_group(own, "pids")
    if path is not None and path != parsing.own_group(own):
        for place in places:
            if place.endswith("/pids"):
                return files.number(f"{place}{path.rstrip('/')}/pids.max")
    return files.number(f"{group}/pids.max") if group else None


def _swap_is_counted(files: Files, unified: str, group: str) -> bool | None:
    for folder in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        if files.has(f"{folder}/memory.usage_in_bytes"):
            return files.has(f"{folder}/memory.memsw.limit_in_bytes")
    if not unified:
        return None
    # The top itself has no such file; any group beneath that counts memory does.
    beneath = [f"{unified}/{name}" for name in files.names(unified) or ()]
    for folder in (group, *beneath):
        if files.has(f"{folder}/memory.max"):
            return files.has(f"{folder}/memory.swap.max")
    return None


def _rights(files: Files) -> Rights:
    status = parsing.fields(files.text("/proc/self/status") or "")
    uids = status.get("Uid", "").split()
    uid = parsing.number(uids[1]) if len(uids) > 1 else None
    ranges = files.text("/proc/self/uid_map")
    actions = files.text(_SYSCTL + "kernel/seccomp/actions_avail")
    no_new = parsing.number(status.get("NoNewPrivs"))
    return Rights(
        uid=uid,
        user=None if uid is None else parsing.user_name(files.text("/etc/passwd") or "", uid),
        effective=parsing.number(status.get("CapEff"), 16),
        bounding=parsing.number(status.get("CapBnd"), 16),
        no_new_privileges=None if no_new is None else bool(no_new),
        seccomp_mode=parsing.number(status.get("Seccomp")),
        seccomp_actions=None if actions is None else frozenset(actions.split()),
        whole_user_range=None if ranges is None else ranges.split() == ["0", "0", "4294967295"],
    )


def _users(files: Files) -> UserNamespaces:
    rights = _rights(files)
    uids = parsing.id_ranges(files.text("/etc/subuid") or "")
    gids = parsing.id_ranges(files.text("/etc/subgid") or "")
    names = {rights.user, None if rights.uid is None else str(rights.uid)} - {None}
    allowed = files.switch(_SYSCTL + "kernel/unprivileged_userns_clone")
    return UserNamespaces(
        there=files.has("/proc/self/ns/user") if files.has("/proc/self/ns") else None,
        most=files.number(_SYSCTL + "user/max_user_namespaces"),
        apparmor_restricts=files.switch(_SYSCTL + "kernel/apparmor_restrict_unprivileged_userns"),
        debian_forbids=None if allowed is None else not allowed,
        subordinate_uids=max((each.count for each in uids if each.user in names), default=0),
        subordinate_gids=max((each.count for each in gids if each.user in names), default=0),
        first_free_id=max((each.first + each.count for each in (*uids, *gids)), default=100_000),
        mapping_programs=all(_mapping_programs(files)),
        mapping_programs_gain_rights=all(
            map(_gains_rights, filter(None, _mapping_programs(files)))
        ),
    )


def _mapping_programs(files: Files) -> list[Path | None]:
    """Where newuidmap and newgidmap are; None for one that is missing."""
    folders = ("/usr/bin", "/bin", "/usr/local/bin")
    return [
        next((files.at(f"{each}/{name}") for each in folders if files.has(f"{each}/{name}")), None)
        for name in ("newuidmap", "newgidmap")
    ]


def _gains_rights(program: Path) -> bool:
    try:
        if program.stat().st_mode & stat.S_ISUID:
            return True
        return "security.capability" in os.listxattr(program)
    except OSError:
        return False


def _login(files: Files) -> Login:
    user = _rights(files).user
    return Login(
        runtime_folder=os.environ.get("XDG_RUNTIME_DIR", ""),
        lingers=files.has(f"/var/lib/systemd/linger/{user}") if user else None,
    )


def _memory(files: Files) -> Memory:
    found = parsing.fields(files.text("/proc/meminfo") or "")

    def size(name: str) -> int | None:
        kibibytes = parsing.number(found.get(name))
        return None if kibibytes is None else kibibytes * _KIB

    return Memory(
        total_bytes=size("MemTotal"),
        available_bytes=size("MemAvailable"),
        swap_bytes=size("SwapTotal"),
        overcommit=files.number(_SYSCTL + "vm/overcommit_memory"),
        panic_on_oom=files.number(_SYSCTL + "vm/panic_on_oom"),
    )


def _limits(files: Files) -> Limits:
    own = files.text("/proc/self/limits") or ""
    kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    most = {kind: files.number(f"{_SYSCTL}user/max_{kind}_namespaces") for kind in kinds}
    return Limits(
        open_files=parsing.hard_limit(own, "Max open files"),
        processes=parsing.hard_limit(own, "Max processes"),
        file_max=files.number(_SYSCTL + "fs/file-max"),
        pid_max=files.number(_SYSCTL + "kernel/pid_max"),
        threads_max=files.number(_SYSCTL + "kernel/threads-max"),
        mount_max=files.number(_SYSCTL + "fs/mount-max"),
        keys_of_root=files.number(_SYSCTL + "kernel/keys/root_maxkeys"),
        keys_of_users=files.number(_SYSCTL + "kernel/keys/maxkeys"),
        inotify_instances=files.number(_SYSCTL + "fs/inotify/max_user_instances"),
        namespaces=MappingProxyType({kind: n for kind, n in most.items() if n is not None}),
    )


def _storage(files: Files, state: Path) -> Storage:
    folder = str(state)
    try:
        there = next(each for each in (state, *state.parents) if each.exists()).resolve()
        disk = os.statvfs(there)
    except (OSError, RuntimeError, StopIteration):  # forbidden, or links in a circle
        return Storage(folder=folder)
    mount = parsing.mount_of(str(there), _mounted(files))
    return Storage(
        folder=folder,
        kind=mount.kind if mount else None,
        free_bytes=disk.f_bavail * disk.f_frsize,
        free_inodes=disk.f_favail if disk.f_files else -1,
        read_only=bool(disk.f_flag & os.ST_RDONLY),
        writable=os.access(there, os.W_OK | os.X_OK),
    )


def _hardening(files: Files) -> Hardening:
    proc = [mount for mount in _mounted(files) if mount.place == "/proc" and mount.kind == "proc"]
    hidden = [option for mount in proc for option in mount.own_options if "hidepid=" in option]
    yama = files.number(_SYSCTL + "kernel/yama/ptrace_scope")
    selinux = files.switch("/sys/fs/selinux/enforce")
    profile = files.text("/proc/self/attr/apparmor/current")
    return Hardening(
        core_pattern=files.text(_SYSCTL + "kernel/core_pattern"),
        ptrace_scope=-1 if yama is None and files.has(_SYSCTL + "kernel") else yama,
        legacy_tiocsti=files.switch(_SYSCTL + "dev/tty/legacy_tiocsti"),
        vsyscall=_vsyscall(files.text("/proc/self/maps")),
        hidepid=hidden[0].partition("=")[2] if hidden else "" if proc else None,
        panic_on_warn=files.switch(_SYSCTL + "kernel/panic_on_warn"),
        protections=_protections(files),
        apparmor=files.switch("/sys/module/apparmor/parameters/enabled") or False,
        apparmor_profile=None if profile is None else profile.rstrip("\0"),
        selinux="" if selinux is None else "enforcing" if selinux else "permissive",
    )


def _protections(files: Files) -> MappingProxyType[str, int] | None:
    """What this kernel has of them: fifos and regular came with Linux 4.19."""
    found = {
        name: value
        for name in ("symlinks", "hardlinks", "fifos", "regular")
        if (value := files.number(f"{_SYSCTL}fs/protected_{name}")) is not None
    }
    return MappingProxyType(found) if found else None


def _mounted(files: Files) -> list[parsing.MountPoint]:
    return parsing.mounts(files.text("/proc/self/mountinfo") or "")


def _vsyscall(maps: str | None) -> str | None:
    if maps is None:
        return None
    line = re.search(r"^\S+ (\S+) .*\[vsyscall\]$", maps, re.M)
    if line is None:
        return "none"
    return "emulate" if line[1].startswith("r") else "xonly"


def _processors(files: Files) -> Processors:
    folder = "/sys/devices/system/cpu/vulnerabilities"
    names = files.names(folder)
    texts = {name: files.text(f"{folder}/{name}") for name in names or ()}
    count = len(re.findall(r"^processor\s*:", files.text("/proc/cpuinfo") or "", re.M))
    return Processors(
        count=count or None,
        threads_share_cores=files.switch("/sys/devices/system/cpu/smt/active"),
        vulnerabilities=None
        if names is None
        else MappingProxyType({name: text for name, text in texts.items() if text is not None}),
    )
