"""Every version of a task that anybody handed something in for, by its digest."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

import msgspec

from assay.domain.errors import DiskFull, GradingLost
from assay.grading.tasks import Bundle
from assay.grading.tasks.bundle import digest_of

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Versions:
    """A folder with a file for each. Written once, never changed, and read with suspicion."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, bundle: Bundle) -> None:
        """Have it for as long as the folder is there. Raises DiskFull."""
        path = self._path(bundle.digest)
        if path is None or path.exists():
            return
        new = path.with_suffix(f".{secrets.token_hex(8)}")  # several may keep it at the same time
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.msgpack.encode(bundle))
            new.replace(path)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise DiskFull(f"{path} cannot be written: {error.strerror}") from error

    def get(self, digest: str) -> Bundle:
        """The version of this digest. Raises GradingLost: another machine may have it."""
        path = self._path(digest)
        try:
            if path is not None:
                bundle = msgspec.msgpack.decode(path.read_bytes(), type=Bundle)
                if digest_of(bundle.files, bundle.executable) == digest:
                    return bundle
        except (OSError, msgspec.MsgspecError):
            pass
        raise GradingLost(f"this machine has no version {digest[:80]} of the task")

    def _path(self, digest: str) -> Path | None:
        found = _DIGEST.fullmatch(digest)
        return self._folder / found[1] if found else None
