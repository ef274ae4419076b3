"""Files that are there as a whole, or as they were."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from assay.domain.errors import InvalidInput


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write one, which takes the place of what was there when all is written.

    Raises InvalidInput where it can't be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} can't be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
