"""Images: from a reference to a root file system that drivers can show to a sandbox."""

from assay.images.host import collect_garbage, host_image

__all__ = ["collect_garbage", "host_image"]
