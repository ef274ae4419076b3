"""An ordinary user's way to sandboxes: a user namespace in which this process is root.

Our own user becomes 0 there, and the subordinate ids of /etc/subuid and /etc/subgid follow from 1
on. Everything else then works as it does for root, within what a namespace allows.

Whoever made a user namespace may do everything in it and in those below, but a process in one of
two such namespaces may do nothing in the other. So all processes of a user that share a state
folder share a namespace, too: the first makes it, later ones join it by way of whatever lives in
it. A sandbox lives in one below, so it keeps the way open for as long as there is something to
reach. When nothing lives, nothing is left that would have to be reached.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NoReturn

from assay.bootstrap.trust import require_ours
from assay.config import Settings
from assay.doctor.parsing import id_ranges
from assay.domain.errors import DriverUnavailable
from assay.drivers.linux import kernel
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.kernel import MountFlag
from assay.drivers.linux.process import Process
from assay.drivers.linux.users import WIDTH

_MEMBERS: Final = "namespace"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def prepare_process(settings: Settings, driver: str | None = None) -> None:
    """Do what making sandboxes takes before this process has a second thread.

    `driver` is the one that it is about, if that is known; `fake` makes none, `nodes` none here.
    """
    if (driver or settings.driver) not in ("fake", "nodes"):
        enter_user_namespace(settings.state)


def enter_user_namespace(state: Path) -> None:
    """Make this process root of a user namespace, unless it is root already.

    To be called early: the process must have one thread only. Raises DriverUnavailable with the
    command that mends it, or Unavailable when others could change the state folder.
    """
    # Whoever could put files there could tell us what to join and run, and which process to end.
    with contextlib.suppress(OSError):  # who needs it says why it can't be made
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_ours(state, "sandboxes", "with --state")
    if os.geteuid() == 0:
        return
    try:
        with _members(state) as members:
            if not any(_join(process) for process in [*members, *_in_sandboxes(state)]):
                _make(state)
            members.append(_ourselves())
        kernel.unshare_mounts()
        kernel.mount("none", Path("/"), flags=MountFlag.RECURSIVE | MountFlag.SLAVE)
    except OSError as error:
        raise _explained(state, str(error)) from error


# --- who is in it ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _members(state: Path) -> Iterator[list[Process]]:
    """The living processes that have entered; what is added is remembered. One at a time."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(state / _MEMBERS, flags, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        noted = [Process.parse(line) for line in file]
        members = [process for process in noted if process is not None and process.runs()]
        yield members
        file.seek(0)
        file.truncate()
        file.writelines(f"{process}\n" for process in members)


def _in_sandboxes(state: Path) -> Iterator[Process]:
    """The agents of all sandboxes, half-made ones too."""
    for folder in state.glob("*/sandboxes/*"):
        with contextlib.suppress(OSError):
            sandbox = SandboxFolder(folder)
            agent = sandbox.process() or sandbox.half_made()
            if agent is not None:
                yield agent


def _ourselves() -> Process:
    process = Process.find(os.getpid())
    assert process is not None
    return process


def _join(member: Process) -> bool:
    """Join the namespace right below ours that a process is in, or beneath which; False: none."""
    try:
        found = os.open(f"/proc/{member.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # While it ran when we had opened this, it was no other's of the same number.
        if not member.runs():
            return False
        found = _below_ours(found)
        kernel.enter_users(found)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(found)


def _below_ours(namespace: int) -> int:
    ours = Path("/proc/self/ns/user").stat().st_ino
    while True:
        above = kernel.parent_namespace(namespace)
        if os.fstat(above).st_ino == ours:
            os.close(above)
            return namespace
        os.close(namespace)
        namespace = above


# --- making it ------------------------------------------------------------------------------------


def _make(state: Path) -> None:
    """Enter a new one, and have the set-user-id programs say who is who in it.

    Raises OSError when it can't be entered, DriverUnavailable for what is wrong in it.
    """
    commands = [
        _command("newuidmap", Path("/etc/subuid"), os.getuid()),
        _command("newgidmap", Path("/etc/subgid"), os.getgid()),
    ]
    # In the new namespace such programs have no rights, so they are called from a process outside.
    begin, began = os.pipe()
    answered, answer = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(began)
        _call_when_told(commands, begin, answer, state)
    os.close(begin)
    os.close(answer)
    try:
        kernel.unshare_users()
        os.write(began, b"!")
        complaint = b"".join(iter(lambda: os.read(answered, 4096), b""))
    finally:
        os.close(began)
        os.close(answered)
        os.waitpid(helper, 0)
    if complaint:
        explanation, _, detail = complaint.decode(errors="replace").partition("\0")
        raise DriverUnavailable(explanation, detail=detail)


def _command(program: str, file: Path, own: int) -> list[str]:
    """The call that maps us to 0 and all our subordinate ids to those from 1 on."""
    names = [str(os.getuid())]
    with contextlib.suppress(KeyError):  # nobody that /etc/passwd knows
        names.append(pwd.getpwuid(os.getuid()).pw_name)
    extents, inside = [(0, own, 1)], 1
    for each in id_ranges(file.read_text()):
        if each.user in names and each.count > 0:
            extents.append((inside, each.first, each.count))
            inside += each.count
    if inside <= WIDTH:
        raise OSError(f"{file} has {inside - 1} ids for this user")
    found = shutil.which(program, path=_PATH) or program
    return [found, str(os.getpid()), *(str(number) for extent in extents for number in extent)]


def _call_when_told(
    commands: Sequence[Sequence[str]], begin: int, answer: int, state: Path
) -> NoReturn:
    """In the process outside; what goes wrong is explained here, where we are still ourselves."""
    try:
        complaint = _call_all(commands) if os.read(begin, 1) else ""
        if complaint:
            explained = _explained(state, complaint)
            os.write(answer, f"{explained.message}\0{explained.detail}".encode())
    except BaseException as error:
        os.write(answer, f"no sandboxes without root: {error}".encode())
    finally:
        os._exit(0)


def _call_all(commands: Sequence[Sequence[str]]) -> str:
    """What the first that fails says, or else nothing."""
    for command in commands:
        try:
            ended = subprocess.run(command, capture_output=True, check=False)
        except OSError as error:
            return str(error)
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip()
            return said or f"{command[0]} failed"
    return ""


def _explained(state: Path, error: str) -> DriverUnavailable:
    """By what the doctor finds, if it finds anything."""
    from assay.doctor.checks.rights import obstacles
    from assay.doctor.collection import collect

    machine = collect(state=state, sandboxes=1)
    found = next(iter(obstacles(machine)), None)
    summary = (
        f"{found.check}: {found.summary}; {found.remedy}"
        if found
        else "`assay doctor` looks for the cause"
    )
    return DriverUnavailable(f"no sandboxes without root: {summary}".rstrip("; "), detail=error)
