"""The Python that waits in the warm sandboxes of an environment (`preimport`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from assay.agent.protocol import MOST_PREPARE
from assay.domain.command import Interpreter
from assay.driver.port import RootFilesystem
from assay.environments.model import ExecutionEnvironment

_WRITABLE: Final = ("/workspace", "/tmp", "/var/tmp", "/dev", "/proc")
_LEADS_TO_CODE: Final = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX",
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT",
)  # fmt: skip
"""Variables with folders or files that Python, or what it imports, takes code from."""
_HEAD: Final = 5
"""Bytes before each piece of a frame."""


def interpreter_of(
    environment: ExecutionEnvironment,
    root: RootFilesystem,
    *,
    variables: Mapping[str, str],
    open_files: int | None,
) -> Interpreter | None:
    """What is to wait for programs with these variables and this limit; None: nothing.

    Nothing waits, either, where the variables would let it run what a learner has written before
    anybody asks for that.
    """
    if environment.preimport is None or _leads_to_learners(root, variables):
        return None
    texts = [*environment.preimport, *(f"{name}={value}" for name, value in variables.items())]
    if sum(len(text.encode(errors="replace")) + _HEAD for text in texts) > MOST_PREPARE - 1024:
        return None
    return Interpreter(
        path=environment.run.argv[0],
        packages=environment.preimport,
        environment=variables,
        uid=root.user,
        gid=root.group,
        open_files=open_files,
    )


def _leads_to_learners(root: RootFilesystem, variables: Mapping[str, str]) -> bool:
    writable = [PurePosixPath(folder) for folder in (*_WRITABLE, root.working_folder)]
    entries = [
        PurePosixPath(entry)
        for name in _LEADS_TO_CODE
        if name in variables
        for entry in variables[name].replace(" ", ":").split(":")
    ]
    return any(
        not entry.is_absolute() or ".." in entry.parts or any(map(entry.is_relative_to, writable))
        for entry in entries
    )
