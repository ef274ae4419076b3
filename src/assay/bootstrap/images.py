"""The images of this machine, and which of them anybody needs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from assay.bootstrap.trust import require_ours
from assay.config import Settings
from assay.domain.errors import AssayError, DiskFull, Unavailable
from assay.environments import HOST, ExecutionEnvironment
from assay.images import Image

if TYPE_CHECKING:
    from assay.images import Images

_STATES = "states"
"""A folder beside the images: links to all state folders whose sandboxes are made of them."""


def open_images(settings: Settings) -> Images:
    """The images of the settings' folder.

    Without root, 0 is ourselves, and an image's files belong to the ids from 1 on. Raises
    Unavailable when others can change that folder.
    """
    from assay.drivers.linux.users import read_ids
    from assay.images import Images  # only now: runs of `host` needn't wait for this import

    with contextlib.suppress(OSError):  # who needs it says why it can't be made
        settings.images.mkdir(mode=0o700, parents=True, exist_ok=True)
    require_ours(settings.images, "images", "by ASSAY_IMAGES")
    return Images(settings.images, owner_offset=1 if read_ids().rootless else 0)


def holding(settings: Settings, image: Image | None) -> AbstractContextManager[None]:
    """Keep an image from being collected, while sandboxes are made of it.

    Whoever collects later finds the sandboxes themselves, because the images' folder remembers
    where they are kept. None: the machine's own programs. Raises ImageUnavailable, DiskFull,
    Unavailable.
    """
    if image is None:
        return contextlib.nullcontext()
    _remember(settings)
    return open_images(settings).using(image)


def needed(settings: Settings, environments: Iterable[ExecutionEnvironment]) -> dict[str, str]:
    """The digests of images that must stay, each with a reason in a few words."""
    images = open_images(settings)
    reasons: dict[str, str] = {}
    sandboxes = _of_sandboxes(settings)
    for image in images.all():
        if image.root.digest in sandboxes:
            reasons[image.digest] = "a sandbox"
    for environment in environments:
        with contextlib.suppress(AssayError):  # a reference that makes no sense is no image's
            found = None if environment.image == HOST else images.find(environment.image)
            if found is not None:
                reasons[found.digest] = f"the environment {environment.name}"
    return reasons


def _of_sandboxes(settings: Settings) -> set[str]:
    from assay.drivers.linux.folder import images_in_use

    found = images_in_use(settings.state)
    for link in _states(settings.images):
        with contextlib.suppress(OSError, Unavailable):
            state = link.readlink()  # perhaps of a folder that has gone, and come back as another's
            require_ours(state, "sandboxes", "with --state")
            found |= images_in_use(state)
    return found


def _states(images: Path) -> list[Path]:
    try:
        return list((images / _STATES).iterdir())
    except OSError:
        return []


def _remember(settings: Settings) -> None:
    """Note where sandboxes are kept, by a link that is there before any of them is."""
    state = settings.state.absolute()
    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:32]
    link = settings.images / _STATES / name
    try:
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(state)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no room in {settings.images}; free some: `assay env gc`") from error
        raise Unavailable(
            f"the folder of images {settings.images} cannot be written: {error.strerror}"
        ) from error
