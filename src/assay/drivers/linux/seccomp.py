"""Which system calls the programs of a sandbox may make: a list of what is allowed.

Whatever is on neither list answers ENOSYS, as an older kernel would, so that C libraries fall
back to what they used before. What is known to be dangerous answers EPERM.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Any, Final

Rule = dict[str, Any]

_FILES: Final = """
    close close_range dup dup3 read write readv writev pread64 pwrite64 preadv pwritev preadv2
    pwritev2 lseek fcntl flock ftruncate truncate fallocate fsync fdatasync readahead sendfile
    copy_file_range splice tee openat openat2 mkdirat mknodat unlinkat
    renameat renameat2 linkat symlinkat readlinkat faccessat faccessat2 fchmod fchmodat fchmodat2
    fchown fchownat fstat newfstatat statx statfs fstatfs utimensat getdents64 getcwd chdir fchdir
    umask pipe2 memfd_create cachestat inotify_add_watch inotify_rm_watch
    getxattr lgetxattr fgetxattr setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr
    removexattr lremovexattr fremovexattr
"""

_WAITING: Final = """
    epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 pselect6 ppoll eventfd2 signalfd4
    timerfd_create timerfd_settime timerfd_gettime futex futex_waitv futex_wake futex_wait
    futex_requeue set_robust_list get_robust_list nanosleep clock_nanosleep clock_gettime
    clock_getres gettimeofday getitimer setitimer timer_create timer_settime timer_gettime
    timer_getoverrun timer_delete
"""

_MEMORY: Final = """
    brk mmap munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall
    membarrier pkey_alloc pkey_free pkey_mprotect mseal get_mempolicy
    shmget shmat shmdt shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl
"""

_PROCESSES: Final = """
    execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait
    rt_sigqueueinfo rt_tgsigqueueinfo sigaltstack restart_syscall rseq
    set_tid_address getpid getppid gettid getpgid setpgid getsid setsid
    getuid geteuid getgid getegid getresuid getresgid getgroups
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups
    capget capset getrlimit setrlimit getrusage times getpriority setpriority ioprio_get
    ioprio_set sched_yield sched_getaffinity sched_setaffinity sched_getparam sched_setparam
    sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
    sched_rr_get_interval sched_getattr sched_setattr getcpu uname sysinfo getrandom
"""

_SOCKETS: Final = """
    bind listen accept accept4 connect getsockname getpeername getsockopt shutdown sendto
    recvfrom sendmsg recvmsg sendmmsg recvmmsg
"""

_X86_64: Final = """
    open creat stat lstat access chmod chown lchown mkdir rmdir mknod unlink rename link symlink
    readlink getdents pipe dup2 select poll epoll_create epoll_wait epoll_wait_old epoll_ctl_old
    eventfd signalfd utime utimes futimesat alarm pause time fork vfork getpgrp
    arch_prctl
"""

_DANGEROUS: Final = """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime create_module delete_module
    fanotify_init fanotify_mark finit_module fsconfig fsmount fsopen fspick get_kernel_syms
    init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl listmount lookup_dcookie mbind
    migrate_pages modify_ldt mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise
    process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd reboot request_key
    seccomp set_mempolicy set_mempolicy_home_node setdomainname sethostname setns settimeofday
    statmount stime swapoff swapon syslog umount umount2 unshare uselib userfaultfd vhangup
"""

_NEW_NAMESPACES: Final = 0x7E020080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""

_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0x40000, 0xFFFFFFFF)
"""Linux, 32-bit addresses, an old version's name, no random addresses, and "which is it?"."""

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_FAMILIES: Final = 46
_SOCK_STREAM, _SOCK_DGRAM, _SOCK_RAW = 1, 2, 3
_SOCKET_TYPE: Final = 0xF
_NETLINK_ROUTE: Final = 0

_LOW_WORD: Final = 0xFFFFFFFF
"""The kernel reads 32 bits of these arguments, so what is above must not hide them."""

_HALF_WORD: Final = 0xFFFF

_TIOCSTI, _TIOCLINUX, _TIOCCONS = 0x5412, 0x541C, 0x541D

_REQUESTS: Final = (
    # terminals: TCGETS to TIOCNXCL, TIOCSCTTY to TIOCOUTQ, TIOCGWINSZ to TIOCMGET, FIONREAD, …
    *(0x5401, 0x5402, 0x5403, 0x5404, 0x5405, 0x5406, 0x5407, 0x5408, 0x5409, 0x540A, 0x540B),
    *(0x540C, 0x540D, 0x540E, 0x540F, 0x5410, 0x5411, 0x5413, 0x5414, 0x5415),
    *(0x541B, 0x5420, 0x5421, 0x5422, 0x5423, 0x5424, 0x5425, 0x5429, 0x5450, 0x5451, 0x5452),
    *(0x802C542A, 0x402C542B, 0x402C542C, 0x402C542D),  # TCGETS2, TCSETS2, …
    *(0x80045430, 0x40045431, 0x5441, 0x80045438, 0x80045439, 0x80045440),  # TIOCGPTN, …
    0x5460,  # FIOQSIZE
    # network interfaces: SIOCGIFNAME, SIOCGIFCONF, flags, addresses, MTU, index; SIOCATMARK
    *(0x8905, 0x8906, 0x8907, 0x8910, 0x8912, 0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D),
    *(0x8921, 0x8927, 0x8933, 0x8942),
    # files: FICLONE, FICLONERANGE, FIEMAP, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FIGETBSZ
    *(0x40049409, 0x4020940D, 0xC020660B, 0x80086601, 0x40086602, 0x2),
    *(0xB701, 0xB702, 0xB703, 0xB704, 0x8008B705, 0x8004B706),  # namespaces: what is it? (nsfs)
    *(0x80045200,),  # RNDGETENTCNT
)


_PR_SET_SECCOMP: Final = 22
_PRCTLS: Final = (
    # PR_SET_PDEATHSIG to PR_SET_MDWE, without filters, and without cookies of core scheduling
    # (62), which keep the neighbours off a processor's other thread
    *range(1, _PR_SET_SECCOMP), *range(23, 57), 65, 66,
    *(0x53564D41, 0x41555856, 0x59616D61),  # PR_SET_VMA, PR_GET_AUXV, PR_SET_PTRACER
)  # fmt: skip

_SIGNALLING: Final = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo"

_SOL_SOCKET: Final = 1
_SOCKET_OPTIONS: Final = (
    # SO_DEBUG to SO_SNDTIMEO; timestamps, SO_PASSSEC, SO_RXQ_OVFL, SO_PEEK_OFF, …
    *range(1, 22), 25, 29, 34, 35, 37, 40, 42, 45, 47, *range(63, 68),
)  # fmt: skip
_FILTERS: Final = (26, 27, 50, 51, 52)
"""SO_ATTACH_FILTER and its kin: their programs are compiled into memory of the whole machine."""
_SOL_IP, _SOL_TCP, _SOL_UDP, _SOL_IPV6, _SOL_NETLINK = 0, 6, 17, 41, 270
_TCP_ULP: Final = 31
_TCP_OPTIONS: Final = tuple(number for number in range(1, 64) if number != _TCP_ULP)


def profile(machine: str, *, devices: bool = False) -> Rule:
    """The `linux.seccomp` of a bundle. `machine` is `os.uname().machine`.

    `devices`: there are devices of the host, whose requests nobody can list: any may be made but
    those that type on terminals or take over consoles.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": [
            _allow(_words(_FILES, _WAITING, _MEMORY, _PROCESSES, _SOCKETS)),
            *([_allow(_words(_X86_64))] if machine == "x86_64" else []),
            _refuse(_words(_DANGEROUS), errno.EPERM),
            # The kernel counts these (128 in all, usually) for who made the user namespaces: one
            # sandbox could take those of all the others, and of the host's root.
            _refuse(["inotify_init", "inotify_init1"], errno.EMFILE),
            # A sandbox's files live in memory; the host's disks, and what its neighbours have of
            # them in memory, are not its business.
            _refuse(["sync", "syncfs", "sync_file_range", "fadvise64"], 0),
            # Its flags are in memory that the filter can't see; libcs fall back to clone.
            _refuse(["clone3"], errno.ENOSYS),
            _allow(["clone"], [_masked(0, _NEW_NAMESPACES, 0)]),
            # Of oneself only: the sandbox's root could take process 1 its file descriptors.
            _allow(["prlimit64"], [_masked(0, _LOW_WORD, 0)]),
            *(_allow(["personality"], [_masked(0, _LOW_WORD, kind)]) for kind in _PERSONALITIES),
            *_sockets(),
            *_socket_options(),
            *(_allow(["prctl"], [each]) for each in _any_of(0, _PRCTLS)),
            _refuse(["prctl"], errno.EPERM, [_masked(0, _LOW_WORD, _PR_SET_SECCOMP)]),
            *(_any_request() if devices else _listed_requests()),
        ],
    }


def _listed_requests() -> list[Rule]:
    return [
        *(_allow(["ioctl"], [each]) for each in _any_of(1, _REQUESTS)),
        *(
            _refuse(["ioctl"], errno.EPERM, [_masked(1, _LOW_WORD, request)])
            for request in (_TIOCSTI, _TIOCLINUX)
        ),
    ]


def _any_request() -> list[Rule]:
    """By a request's lower half: terminals have no other ones with these."""
    refused = {_TIOCSTI, _TIOCLINUX, _TIOCCONS}
    others = _any_of(1, set(range(_HALF_WORD + 1)) - refused, word=_HALF_WORD)
    return [
        *(_allow(["ioctl"], [each]) for each in others),
        *(_refuse(["ioctl"], errno.EPERM, [_masked(1, _HALF_WORD, each)]) for each in refused),
    ]


def profile_of_own_kernel(machine: str) -> Rule:
    """The same for gVisor, whose kernel is the sandbox's own.

    It has no drivers and few protocols, so requests and families need no telling apart; nor would
    it take a program that long. But its process 1 is not safe from the sandbox's root, so nobody
    may signal that. Of several rules for a call, gVisor takes the first that fits.
    """
    listed = profile(machine)
    rules = [rule for rule in listed["syscalls"] if not _tells_devices_apart(rule)]
    of_agent = _refuse(_words(_SIGNALLING), errno.EPERM, [_masked(0, _LOW_WORD, 1)])
    return {**listed, "syscalls": [of_agent, *rules, _allow(["ioctl"])]}


def _tells_devices_apart(rule: Rule) -> bool:
    refused_families = rule["action"] == "SCMP_ACT_ERRNO" and "socket" in rule["names"]
    return refused_families or "ioctl" in rule["names"]


_ARCHITECTURES: Final[Mapping[str, str]] = {
    "x86_64": "SCMP_ARCH_X86_64",
    "aarch64": "SCMP_ARCH_AARCH64",
}


def _sockets() -> list[Rule]:
    rules = [
        _allow(["socket"], [_masked(0, _LOW_WORD, _AF_UNIX)]),
        _allow(["socketpair"], [_masked(0, _LOW_WORD, _AF_UNIX)]),
        _allow(
            ["socket"],
            [_masked(0, _LOW_WORD, _AF_NETLINK), _masked(2, _LOW_WORD, _NETLINK_ROUTE)],
        ),
    ]
    for family in (_AF_INET, _AF_INET6):
        for kind in (_SOCK_STREAM, _SOCK_DGRAM):
            arguments = [_masked(0, _LOW_WORD, family), _masked(1, _SOCKET_TYPE, kind)]
            rules.append(_allow(["socket"], arguments))
        raw = [_masked(0, _LOW_WORD, family), _masked(1, _SOCKET_TYPE, _SOCK_RAW)]
        rules.append(_refuse(["socket"], errno.EPERM, raw))
    known = (_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK)
    unknown = _any_of(0, set(range(_FAMILIES)).difference(known))
    return rules + [_refuse(["socket"], errno.EAFNOSUPPORT, [each]) for each in unknown]


def _socket_options() -> list[Rule]:
    rules = [
        _allow(["setsockopt"], [_masked(1, _LOW_WORD, level)])
        for level in (_SOL_IP, _SOL_UDP, _SOL_IPV6, _SOL_NETLINK)
    ]
    for level, options in ((_SOL_SOCKET, _SOCKET_OPTIONS), (_SOL_TCP, _TCP_OPTIONS)):
        rules += [
            _allow(["setsockopt"], [_masked(1, _LOW_WORD, level), each])
            for each in _any_of(2, options)
        ]
    rules += [
        _refuse(
            ["setsockopt"], errno.EPERM,
            [_masked(1, _LOW_WORD, _SOL_SOCKET), _masked(2, _LOW_WORD, option)],
        )
        for option in _FILTERS
    ]  # fmt: skip
    return rules


def _any_of(index: int, numbers: Iterable[int], word: int = _LOW_WORD) -> list[Rule]:
    """The argument's bits in `word` are one of these: as few comparisons as cover no other one."""
    left, found = set(numbers), []
    while left:
        first, width = min(left), 1
        while first % (2 * width) == 0 and left.issuperset(range(first, first + 2 * width)):
            width *= 2
        left.difference_update(range(first, first + width))
        found.append(_masked(index, word & ~(width - 1), first))
    return found


def _words(*texts: str) -> list[str]:
    return [word for text in texts for word in text.split()]


def _allow(names: list[str], arguments: list[Rule] | None = None) -> Rule:
    rule: Rule = {"names": names, "action": "SCMP_ACT_ALLOW"}
    return rule if arguments is None else {**rule, "args": arguments}


def _refuse(names: list[str], number: int, arguments: list[Rule] | None = None) -> Rule:
    rule: Rule = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number}
    return rule if arguments is None else {**rule, "args": arguments}


def _masked(index: int, mask: int, value: int) -> Rule:
    """The argument's bits under `mask` are exactly `value`."""
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
