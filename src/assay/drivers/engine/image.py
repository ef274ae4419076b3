"""A root file system as an image of an engine's: copied there once."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from assay.drivers.engine.engine import Engine
from assay.drivers.linux.copy import Copy, pieces

REPOSITORY: Final = "localhost/assay-root"
"""Of no registry: engines that would look for it elsewhere don't."""
_MOST: Final = 7
"""Images that are kept beside a new one. What a container is made of stays in any case."""


def keep_copy(engine: Engine, copy: Copy, name: str, of_ours: str) -> None:
    """Make the image, and remove the oldest of ours: their names begin so.

    Raises what an engine's requests do, RuntimeFailed where the root can't be read.
    """
    for old in [each for each in engine.images(REPOSITORY) if each.startswith(of_ours)][_MOST:]:
        engine.remove_image(old)
    with closing(pieces(copy)) as archive:
        engine.import_image(name, archive)
