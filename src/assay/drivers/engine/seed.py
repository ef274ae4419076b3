"""The one image that an engine needs: a program that follows plans, and a pipe to wait at for one.

What a container starts with matters for a moment only: then it is given the root of its sandbox.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = "localhost/assay-seed"
"""Of no registry: engines that would look for it elsewhere don't."""
NEXT_ROOT: Final = "/root"
"""Where the sandbox's root is put before it becomes that."""
GATE: Final = "/plan"
"""The pipe."""
COMMAND: Final = ("/lean", "follow", GATE)
"""What a container runs until it has a plan."""
_FOLDERS: Final = ("proc", "dev", "sys", "etc", NEXT_ROOT[1:])


@dataclass(frozen=True, kw_only=True, slots=True)
class Seed:
    """The image's archive, and the tag that its content gives it."""

    tag: str
    archive: bytes

    @property
    def name(self) -> str:
        """As an engine calls it."""
        return f"{REPOSITORY}:{self.tag}"


def seed(lean: Path) -> Seed:
    """The image with this program; the same for the same one."""
    program = lean.read_bytes()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in _FOLDERS:
            archive.addfile(_entry(name, tarfile.DIRTYPE, 0o755))
        archive.addfile(_entry(GATE[1:], tarfile.FIFOTYPE, 0o444))
        entry = _entry(COMMAND[0][1:], tarfile.REGTYPE, 0o755)
        entry.size = len(program)
        archive.addfile(entry, io.BytesIO(program))
    data = content.getvalue()
    return Seed(tag=hashlib.sha256(data).hexdigest()[:16], archive=data)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry
