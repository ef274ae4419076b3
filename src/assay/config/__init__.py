"""Settings: read once, then frozen."""

from assay.config.settings import Settings, read_settings

__all__ = ["Settings", "read_settings"]
