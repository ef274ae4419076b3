"""What a sandbox and an execution may use. Every limit is on unless its value is None."""

from __future__ import annotations

from dataclasses import dataclass

from assay.domain.errors import InvalidInput, LimitOverCeiling

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxLimits:
    """What everything in one sandbox may use together, for as long as it lives."""

    memory_bytes: int = 256 * MIB
    """RAM of all programs and of the files in the writable layer; there is no swap."""
    processes: int = 64
    """Processes and threads at one time."""
    cpus: float = 1.0
    """Processors' worth of time in every period."""
    disk_bytes: int = 64 * MIB
    """Bytes in the writable layer; at most half of the memory where it lives in memory."""
    inodes: int = 16384
    """Files, folders and links in the writable layer."""

    def __post_init__(self) -> None:
        _require_positive(self)
        if self.memory_bytes < 4 * MIB:
            raise InvalidInput("memory must be at least 4 MiB")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutionLimits:
    """What one execution may use. None is "no limit of its own"."""

    wall_seconds: float | None = 10.0
    """Time on the clock, from the start of the program."""
    cpu_seconds: float | None = 10.0
    """Processor time of the program and of all its descendants together."""
    output_bytes: int | None = 16 * MIB
    """Standard output and error together."""
    open_files: int | None = 256
    """File descriptors in each process."""

    def __post_init__(self) -> None:
        _require_positive(self)


def _require_positive(limits: SandboxLimits | ExecutionLimits) -> None:
    for name in limits.__slots__:
        value = getattr(limits, name)
        if value is not None and not 0 < value < 2**62:
            raise InvalidInput(f"{name} must be more than zero, not {value}")


def require_within(
    asked: SandboxLimits | ExecutionLimits, ceiling: SandboxLimits | ExecutionLimits
) -> None:
    """Raise LimitOverCeiling if any value of `asked` is above the same value of `ceiling`."""
    for name in asked.__slots__:
        value, most = getattr(asked, name), getattr(ceiling, name)
        if most is not None and (value is None or value > most):
            shown = "without limit" if value is None else value
            raise LimitOverCeiling(f"{name} is {shown}, but this environment allows at most {most}")
