"""Leases of sandboxes: executions, files and ports of each, and how they outlive a server."""

from __future__ import annotations

from assay.runners.attachment import Attachment
from assay.runners.runner import Runner
from assay.runners.runners import Runners
from assay.runners.values import (
    ASSAY_V1,
    POSEIDON,
    RUN,
    Claimed,
    Ended,
    EndReason,
    Event,
    FileToWrite,
    InputWindow,
    Listed,
    Moved,
    Output,
    Replaced,
    RunRequest,
    RunResult,
    RunTimings,
    State,
    Steps,
    Stock,
)

__all__ = [
    "ASSAY_V1",
    "POSEIDON",
    "RUN",
    "Attachment",
    "Claimed",
    "EndReason",
    "Ended",
    "Event",
    "FileToWrite",
    "InputWindow",
    "Listed",
    "Moved",
    "Output",
    "Replaced",
    "RunRequest",
    "RunResult",
    "RunTimings",
    "Runner",
    "Runners",
    "State",
    "Steps",
    "Stock",
]
