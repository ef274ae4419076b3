"""Images: from a reference to a root file system that drivers can show to a sandbox."""

from typing import TYPE_CHECKING, Any

from assay.images.host import collect_garbage, host_image
from assay.images.image import Image, ImageConfiguration, OnProgress, Progress, ignore

if TYPE_CHECKING:
    from assay.images.images import Images, Removed

__all__ = [
    "Image",
    "ImageConfiguration",
    "Images",
    "OnProgress",
    "Progress",
    "Removed",
    "collect_garbage",
    "host_image",
    "ignore",
]


def __getattr__(name: str) -> Any:
    """Import what pulls, builds and unpacks only for who asks: most runs need none of it."""
    if name not in ("Images", "Removed"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assay.images import images

    return getattr(images, name)
