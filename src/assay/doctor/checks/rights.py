"""What this process may do: root, capabilities, user namespaces, seccomp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from assay.doctor.facts import Machine
from assay.doctor.findings import Finding, Mark, failure, listed, note, ok, unknown, warning
from assay.domain.errors import AssayError
from assay.driver.port import Problem

RANGE: Final = 65536
"""Ids that a sandbox needs for a user range of its own."""

_BITS: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_ADMIN": 21,
}
_SYS_RESOURCE: Final = 24


def root(machine: Machine) -> Iterator[Finding]:
    """Who we are."""
    rights = machine.rights
    if rights.uid is None:
        yield unknown("user", "who runs this")
    elif rights.uid != 0 and any(obstacles(machine)):
        yield warning("user", f"{_name(machine)}: makes no sandboxes yet, see below; root could")
    elif rights.uid != 0:
        yield ok("user", f"{_name(machine)}: sandboxes are made in a user namespace, without root")
    elif rights.whole_user_range is False:
        yield note("user", "root of a user namespace, not of the machine")
    else:
        yield ok("user", "root")


def capabilities(machine: Machine) -> Iterator[Finding]:
    """Whether root is all of root."""
    held = machine.rights.effective
    if held is None:
        yield unknown("capabilities", "this process's capabilities")
        return
    if not machine.is_root:
        return
    missing = [name for name, bit in _BITS.items() if not held >> bit & 1]
    if missing:
        flags = " ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing)
        yield failure(
            "capabilities",
            f"{listed(missing, most=9)} missing: sandboxes can't be made",
            f"start the container that this is with: {flags} (or --privileged)",
        )
    elif not held >> _SYS_RESOURCE & 1:
        yield note(
            "capabilities",
            "all that is needed; CAP_SYS_RESOURCE is missing, so Docker's --privileged, Podman's "
            "default ulimits and negative oom_score_adj fail; Assay does without",
        )
    else:
        yield ok("capabilities", "all that is needed")


def seccomp(machine: Machine) -> Iterator[Finding]:
    """Whether system calls can be filtered."""
    rights = machine.rights
    if rights.seccomp_actions is None:
        if machine.kernel.release is None:
            yield unknown("seccomp", "/proc/sys/kernel/seccomp")
        else:
            yield failure("seccomp", "this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")
    elif not {"errno", "kill_process"} <= rights.seccomp_actions:
        yield failure("seccomp", "this kernel's filters can't refuse a call with an error")
    elif rights.seccomp_mode == 2:
        yield note("seccomp", "available; this process is behind a filter itself")
    else:
        yield ok("seccomp", "available")


def user_namespaces(machine: Machine) -> Iterator[Finding]:
    """Whether sandboxes can have users of their own."""
    users = machine.users
    if users.there is None:
        yield unknown("user-namespaces", "/proc/self/ns")
    elif not users.there:
        yield failure("user-namespaces", "this kernel has none (CONFIG_USER_NS)")
    elif users.most == 0:
        yield failure("user-namespaces", "switched off", "sysctl -w user.max_user_namespaces=65536")
    elif machine.is_root or machine.rights.uid is None:
        yield ok("user-namespaces", "available")
    elif users.debian_forbids:
        yield warning(
            "user-namespaces", "for root alone", "sysctl -w kernel.unprivileged_userns_clone=1"
        )
    elif users.apparmor_restricts:
        yield warning(
            "user-namespaces",
            "restricted by AppArmor to programs that have a profile (Ubuntu); docs/rootless.md has"
            " one for Assay alone",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    else:
        yield ok("user-namespaces", "available, without root too")


def subordinate_ids(machine: Machine) -> Iterator[Finding]:
    """Whether an ordinary user has ids to give to a sandbox."""
    users, rights = machine.users, machine.rights
    if machine.is_root or rights.uid is None:
        return
    user = _name(machine)
    first, last = users.first_free_id, users.first_free_id + RANGE - 1
    short = [
        name
        for name, count in (("uids", users.subordinate_uids), ("gids", users.subordinate_gids))
        if (count or 0) < RANGE
    ]
    if short:
        flags = " ".join(f"--add-sub{name} {first}-{last}" for name in short)
        yield warning(
            "subordinate-ids",
            f"{user} has fewer than {RANGE} subordinate {' and '.join(short)}: without them "
            "learners could not be kept apart from the agent",
            f"usermod {flags} {user}",
        )
    elif not users.mapping_programs:
        yield warning(
            "subordinate-ids", "newuidmap and newgidmap are missing", "apt-get install uidmap"
        )
    elif users.mapping_programs_gain_rights is False:
        yield warning(
            "subordinate-ids",
            "newuidmap and newgidmap gain no rights: they are not set-user-id",
            "chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap",
        )
    else:
        yield ok("subordinate-ids", f"{users.subordinate_uids} uids, {users.subordinate_gids} gids")


def new_privileges(machine: Machine) -> Iterator[Finding]:
    """Whether newuidmap, which is set-user-id, can do its work."""
    if machine.rights.no_new_privileges and not machine.is_root:
        yield warning(
            "no-new-privileges",
            "this process can gain no rights, so newuidmap and sudo fail: start it without "
            "NoNewPrivileges (systemd) or no-new-privileges (Docker)",
        )


def obstacles(machine: Machine) -> Iterator[Finding]:
    """What keeps an ordinary user from having a user namespace to make sandboxes in."""
    for check in (user_namespaces, subordinate_ids, new_privileges):
        yield from (found for found in check(machine) if found.mark in (Mark.WARNING, Mark.FAILURE))


def without_root(machine: Machine, error: AssayError) -> Problem:
    """Why an ordinary user got no user namespace: the obstacle, or else what `error` says."""
    for found in obstacles(machine):
        summary = f"no sandboxes without root: {found.check}: {found.summary}"
        return Problem(summary=summary, remedy=found.remedy)
    return Problem(summary=error.message)


def _name(machine: Machine) -> str:
    return machine.rights.user or str(machine.rights.uid)


def login(machine: Machine) -> Iterator[Finding]:
    """Where an ordinary user's sandboxes are kept, and for how long."""
    rights, user = machine.rights, _name(machine)
    if machine.is_root or rights.uid is None:
        return
    if machine.login.runtime_folder == "":
        yield note(
            "login",
            "XDG_RUNTIME_DIR is not set, as after su: sandboxes are kept in "
            f"/tmp/assay-{rights.uid}",
            f"machinectl shell {user}@",
        )
    elif machine.kernel.init == "systemd" and machine.login.lingers is False:
        yield note(
            "login",
            "sandboxes end with your last session: good for `assay run`, not for a server",
            f"loginctl enable-linger {user}",
        )
    else:
        yield ok("login", f"sandboxes are kept in {machine.login.runtime_folder}/assay")


CHECKS: Final = (
    root,
    capabilities,
    seccomp,
    user_namespaces,
    subordinate_ids,
    new_privileges,
    login,
)
