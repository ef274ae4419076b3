"""Images: from a reference to a root file system that drivers can show to a sandbox."""

from assay.images.host import collect_garbage, host_image
from assay.images.image import Image, ImageConfiguration, OnProgress, Progress
from assay.images.images import Images, Removed, ignore

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
