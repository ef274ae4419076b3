"""Whether a root file system has what an environment needs."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from assay.domain.errors import EnvironmentUnusable
from assay.driver.port import RootFilesystem
from assay.environments.model import ExecutionEnvironment, Tool

HOST = "host"
"""The image that is this machine's own programs."""

_MOST_LINKS = 40  # as many as the kernel follows


@dataclass(frozen=True, kw_only=True, slots=True)
class MissingTool:
    """A tool that is not there for a learner to use, and the command that installs it."""

    tool: Tool
    remedy: str


def missing_tools(environment: ExecutionEnvironment, root: RootFilesystem) -> list[MissingTool]:
    """Return the environment's tools that are not inside of `root`, as a sandbox will see it."""
    return [
        MissingTool(tool=tool, remedy=_remedy(environment, tool.package))
        for tool in environment.tools
        if not _is_there(tool, root)
    ]


def require_tools(environment: ExecutionEnvironment, root: RootFilesystem) -> None:
    """Raise EnvironmentUnusable, with the remedy, unless every tool is there."""
    missing = missing_tools(environment, root)
    if missing:
        paths = ", ".join(each.tool.path for each in missing)
        packages = " ".join(dict.fromkeys(each.tool.package for each in missing))
        raise EnvironmentUnusable(
            f"the environment {environment.name!r} cannot be used here, for want of {paths}: "
            f"{_remedy(environment, packages)}"
        )


def _remedy(environment: ExecutionEnvironment, packages: str) -> str:
    if environment.image == HOST:
        return f"apt-get install {packages}"
    return f"its image {environment.image} has to have it (Debian's package: {packages})"


def _is_there(tool: Tool, root: RootFilesystem) -> bool:
    found = locate(tool.path, root)
    try:
        return found is not None and bool(found.lstat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def locate(path: str, root: RootFilesystem) -> Path | None:
    """Find the machine's own name for `path` of a sandbox, or None where there is nothing.

    Symbolic links are followed as in the sandbox: an absolute one starts at the sandbox's root
    and `..` ends there, so nothing outside of the root and its mounts is ever looked at.
    """
    sources = {mount.target.rstrip("/"): mount.source.resolve() for mount in root.mounts}
    sources[""] = root.path.resolve()
    pending = list(reversed(PurePosixPath(path).parts))
    here, links = "", 0
    while pending:
        part = pending.pop()
        if part in ("/", ".."):
            here = "" if part == "/" else here.rpartition("/")[0]
            continue
        there = f"{here}/{part}"
        on_machine = _on_machine(there, sources)
        try:
            mode = on_machine.lstat().st_mode
        except OSError:  # ENAMETOOLONG, too
            return None
        if not stat.S_ISLNK(mode):
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        pending += reversed(PurePosixPath(on_machine.readlink()).parts)
    return _on_machine(here, sources)


def _on_machine(path: str, sources: dict[str, Path]) -> Path:
    """Where a path without links lies: beneath the mount that is nearest to it."""
    target = path
    while target not in sources:
        target = target.rpartition("/")[0]
    return sources[target] / path[len(target) :].lstrip("/")
