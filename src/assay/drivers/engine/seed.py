"""The one image that an engine needs: the agent, and a pipe for it to wait at.

What a container starts with matters for a moment only: then it is given the root of its sandbox.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.drivers.linux.confinement import AGENT_FOLDER, CONTROL, SECRET

REPOSITORY: Final = "localhost/assay-seed"
"""Of no registry: engines that would look for it elsewhere don't."""
NEXT_ROOT: Final = "/root"
"""Where the sandbox's root is put before it becomes that."""
_FOLDERS: Final = ("proc", "dev", "sys", "etc", NEXT_ROOT[1:], AGENT_FOLDER[1:], CONTROL[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Seed:
    """The image's archive, and the tag that its content gives it."""

    tag: str
    archive: bytes

    @property
    def name(self) -> str:
        """As an engine calls it."""
        return f"{REPOSITORY}:{self.tag}"


def seed(agent: Path) -> Seed:
    """The image with this agent; the same for the same program."""
    program = agent.read_bytes()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in _FOLDERS:
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        archive.addfile(_entry(SECRET[1:], tarfile.FIFOTYPE, 0o400))
        entry = _entry(f"{AGENT_FOLDER[1:]}/agent", tarfile.REGTYPE, 0o755)
        entry.size = len(program)
        archive.addfile(entry, io.BytesIO(program))
    data = content.getvalue()
    return Seed(tag=hashlib.sha256(data).hexdigest()[:16], archive=data)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry
