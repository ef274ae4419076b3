"""Files that are there as a whole, or as they were."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from assay.domain.errors import InvalidInput


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """For a block that writes it. Raises InvalidInput where that can't be.

    A full disk stays what it is: it has an exit status of its own.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InvalidInput(f"{path} can't be written: {error.strerror or error}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write one, which takes the place of what was there when all is written.

    Links, and what is no ordinary file (/dev/stdout), stay and are written to. Raises InvalidInput
    where it can't be written.
    """
    with written(path):
        if _stays(path):
            with path.open("wb") as file:
                yield file
            return
        partial = _partial(path)
        try:
            with partial.open("xb") as file:
                yield file
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


def require_writable(path: Path) -> None:
    """Raise InvalidInput where `whole_file` would, before the work whose result is to be there."""
    with written(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _stays(path):
            partial = _partial(path)
            partial.open("xb").close()
            partial.unlink()
        elif path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _stays(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.is_file())


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
