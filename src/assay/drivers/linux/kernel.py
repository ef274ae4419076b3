"""The few system calls that Python 3.11 has no name for."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntFlag
from functools import cache
from pathlib import Path

_CLONE_VM = 0x00000100
_CLONE_VFORK = 0x00004000
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_WAIT_FOR_ANY_KIND = 0x40000000
_NS_GET_PARENT = 0xB702
_PR_SET_DUMPABLE = 4
_SETRESUID = {"x86_64": 117, "aarch64": 147}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

# These have the same numbers on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_RESOLVE_NO_MAGICLINKS = 2
_RESOLVE_IN_ROOT = 16
_STACK_BYTES = 64 * 1024


class MountFlag(IntFlag):
    """Flags of mount(2)."""

    NONE = 0
    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    MOVE = 8192
    RECURSIVE = 16384
    SLAVE = 1 << 19


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


@cache
def is_at_least(major: int, minor: int) -> bool:
    """Whether this is Linux of that version, or a newer one."""
    numbers = os.uname().release.split("-", 1)[0].split(".")[:2]
    return tuple(map(int, numbers)) >= (major, minor)


def unshare_mounts() -> None:
    """Give the calling thread (and no other) a copy of its mount namespace, root and folder."""
    _check(_libc().unshare(_CLONE_NEWNS), "unshare")


def enter_mounts(namespace: int) -> None:
    """Move the calling thread into the mount namespace of this file descriptor."""
    _check(_libc().setns(namespace, _CLONE_NEWNS), "setns")


def enter_network(namespace: int) -> None:
    """Move the calling thread into the network namespace of this file descriptor."""
    _check(_libc().setns(namespace, _CLONE_NEWNET), "setns")


def unshare_users() -> None:
    """Put this process, which must have one thread only, into a user namespace of its own."""
    _check(_libc().unshare(_CLONE_NEWUSER), "unshare")


def enter_users(namespace: int) -> None:
    """Move this process, which must have one thread only, into a user namespace."""
    _check(_libc().setns(namespace, _CLONE_NEWUSER), "setns")


def parent_namespace(namespace: int) -> int:
    """Open the user namespace above a user namespace. Raises PermissionError above our own."""
    return fcntl.ioctl(namespace, _NS_GET_PARENT)


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Let the calling thread (and no other) be this user, for what opens files only."""
    _become(user)
    try:
        yield
    finally:
        _become(0)
        # Whoever changes users can't be looked into any more; we are still the same.
        _check(_libc().prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def _become(user: int) -> None:
    # Not by libc's own function, which changes all threads.
    _check(
        _libc().syscall(ctypes.c_long(_SETRESUID[os.uname().machine]), -1, user, -1), "setresuid"
    )


def mount(
    source: Path | str,
    target: Path | str,
    kind: str = "",
    flags: MountFlag = MountFlag.NONE,
    options: str = "",
) -> None:
    """Call mount(2)."""
    result = _libc().mount(
        os.fsencode(source), os.fsencode(target), kind.encode(),
        ctypes.c_ulong(flags), options.encode(),
    )  # fmt: skip
    _check(result, str(target))


def namespace_has(file: Path) -> bool:
    """Whether new user and network namespaces show this file; False where that can't be tried."""
    command = ["unshare", "--user", "--net", "test", "-e", str(file)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def detach(target: Path) -> None:
    """Unmount a tree of mounts now, for everybody who comes later."""
    _check(_libc().umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW), str(target))


def user_namespace(first: int, count: int) -> int:
    """A descriptor of a namespace whose ids 0 to `count` - 1 are the host's from `first` on.

    No process is in it. Only a new process can begin one, and to fork this one would copy all of
    its tables; so the new process shares our memory, runs one function of the C library that
    touches none of it, and ends. As a zombie it still has its namespace.
    """
    stack = ctypes.create_string_buffer(_STACK_BYTES)
    top = (ctypes.addressof(stack) + _STACK_BYTES) & ~15
    nothing = ctypes.cast(_libc().getpid, ctypes.c_void_p)
    clone = _libc().clone
    flags = _CLONE_VM | _CLONE_VFORK | _CLONE_NEWUSER  # VFORK: it has ended when we go on
    # A signal must not run a handler of ours in there, a second time.
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = clone(nothing, ctypes.c_void_p(top), ctypes.c_int(flags), None)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    _check(0 if pid > 0 else -1, "clone")
    try:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first} {count}")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.waitpid(pid, _WAIT_FOR_ANY_KIND)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr"""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "owners"))


def mount_owned(source: Path, target: Path, owners: int) -> None:
    """Bind a folder; who owns its files is told as that user namespace counts.

    Raises OSError (EINVAL, say) where kernel or file system can't do it.
    """
    tree = _descriptor(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        wanted = _MountAttributes(set=_MOUNT_ATTR_IDMAP, owners=owners)
        size = ctypes.sizeof(wanted)
        _descriptor(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, ctypes.byref(wanted), size)
        place = os.fsencode(target)
        _descriptor(_MOVE_MOUNT, tree, b"", _AT_FDCWD, place, _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def copy_mounts(source: Path) -> int:
    """A descriptor of a copy of a tree of mounts, for whatever mount namespace."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _descriptor(_OPEN_TREE, _AT_FDCWD, os.fsencode(source), flags)


def attach_mounts(mounts: int, target: Path) -> None:
    """Put such a copy at a path of the calling thread's mount namespace."""
    place = os.fsencode(target)
    _descriptor(_MOVE_MOUNT, mounts, b"", _AT_FDCWD, place, _MOVE_MOUNT_F_EMPTY_PATH)


def change_root(root: Path) -> None:
    """Make a mounted folder the root of the calling thread's mount namespace.

    That is the root, too, of all processes there whose root was the namespace's; what was mounted
    at the old one is gone.
    """
    os.chdir(root)
    number = ctypes.c_long(_PIVOT_ROOT[os.uname().machine])
    _check(_libc().syscall(number, b".", b"."), f"pivot_root {root}")
    _check(_libc().umount2(b".", _MNT_DETACH), f"leave the root before {root}")


class _HowToOpen(ctypes.Structure):
    """struct open_how"""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("flags", "mode", "resolve"))


def open_folder_in(root: Path, path: str) -> int:
    """A descriptor (O_PATH) of a folder, found as by a process whose root is `root`.

    Whatever links there are lead nowhere else. Raises OSError.
    """
    return open_in(root, path, os.O_DIRECTORY)


def open_in(root: Path, path: str, flags: int = 0) -> int:
    """The same of anything."""
    how = _HowToOpen(
        flags=os.O_PATH | os.O_CLOEXEC | flags,
        resolve=_RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS,
    )
    start = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        size = ctypes.sizeof(how)
        while True:
            with contextlib.suppress(BlockingIOError):  # somebody mounted something meanwhile
                return _descriptor(_OPENAT2, start, os.fsencode(path), ctypes.byref(how), size)
    finally:
        os.close(start)


def bind_in(root: Path, path: str, target: Path) -> None:
    """Bind a folder that is found so."""
    found = open_folder_in(root, path)
    try:
        mount(f"/proc/self/fd/{found}", target, flags=MountFlag.BIND)
    finally:
        os.close(found)


def _descriptor(number: int, *arguments: object) -> int:
    """Make a system call whose result is a file descriptor, or 0."""
    call = _libc().syscall
    numbers = (ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    result: int = call(ctypes.c_long(number), *numbers)
    _check(min(result, 0), f"system call {number}")
    return result
