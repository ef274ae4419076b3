"""Says whether a driver works on this machine, by making a sandbox."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError
from assay.driver.port import Driver, Health, Problem, RootFilesystem, SandboxSpec, Secret
from assay.drivers.linux.layout import problems as missing_groups
from assay.drivers.linux.layout import read_layout, weaker
from assay.drivers.linux.users import read_ids

_FOLDERS: Final = ("proc", "dev", "tmp", "workspace", ".assay")
_NO_NAMESPACE: Final = Problem(
    summary="who isn't root makes sandboxes in a user namespace, and this is none",
    remedy="assay doctor",
)
_OWNERS_HIDDEN: Final = Problem(
    summary="files of images belong to nobody in sandboxes, so what only an image's own user may"
    " read can't be read there: that takes Linux 5.19, and ext4, xfs, btrfs or (6.3) tmpfs"
)


async def probe(driver: Driver, state: Path, version: str) -> Health:
    """Look for what is known to go wrong, then try. Never raises."""
    if os.geteuid() != 0:  # nothing is begun that could not be removed
        return Health(works=False, version=version, problems=(_NO_NAMESPACE,))
    obstacles = _obstacles()
    try:
        facts = await attempt(driver, state)
    except (AssayError, OSError) as error:
        problems = obstacles or [problem(error)]
        return Health(works=False, version=version, problems=tuple(problems))
    problems = [*obstacles, *weaker(read_layout(), read_ids())]
    if facts.get("owners") == "hidden":
        problems.append(_OWNERS_HIDDEN)
    return Health(works=True, version=version, problems=tuple(problems))


def problem(error: AssayError | OSError) -> Problem:
    """What went wrong, in its own words."""
    if isinstance(error, AssayError):
        return Problem(summary=": ".join(filter(None, (error.message, error.detail))))
    return Problem(summary=str(error))


async def attempt(driver: Driver, state: Path) -> Mapping[str, str]:
    """Make a sandbox with an empty root and connect to its agent; what the driver knows of it.

    Raises AssayError or OSError.
    """
    root = _empty_root(state / "empty")
    sandbox = await driver.create(SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32))))
    try:
        await (await driver.connect(sandbox.id)).aclose()
    finally:
        await driver.destroy(sandbox.id)
    return sandbox.facts


def _empty_root(folder: Path) -> RootFilesystem:
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return RootFilesystem(digest="empty", path=folder, owners=True)


def _obstacles() -> list[Problem]:
    # An ordinary user does without control groups, if need be.
    found = [] if read_ids().rootless else missing_groups(read_layout())
    if not Path("/proc/self/ns/user").exists():
        found.append(Problem(summary="this kernel has no user namespaces (CONFIG_USER_NS)"))
    elif _read("/proc/sys/user/max_user_namespaces") == "0":
        remedy = "sysctl -w user.max_user_namespaces=65536"
        found.append(Problem(summary="user namespaces are switched off", remedy=remedy))
    if not Path("/proc/sys/kernel/seccomp").is_dir():
        found.append(Problem(summary="this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)"))
    return found


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
