"""Where files of Jobe's clients lie: beside SQLite's file, or in PostgreSQL for all servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assay.storage.file_cache import FileCache, SentFiles
from assay.storage.shared_files import SharedFiles
from assay.storage.urls import parsed


@asynccontextmanager
async def sent_files(database: str, kept: Path) -> AsyncIterator[SentFiles]:
    """Open them for the block. Raises StorageError with the remedy."""
    if parsed(database).drivername == "sqlite":
        yield FileCache(kept / "jobe-files")
        return
    files = await SharedFiles.open(database)
    try:
        yield files
    finally:
        await files.aclose()
