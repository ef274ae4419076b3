"""Assay runs untrusted programs in warm, isolated sandboxes, and grades them."""

from typing import TYPE_CHECKING

__all__ = ["__version__"]

__version__: str

if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        # Reading the installed package's metadata takes milliseconds: only for those who ask.
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version

        return version("assay")
