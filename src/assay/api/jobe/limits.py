"""From Jobe's parameters to limits: pure, and never more than the environment allows.

Time above the ceiling is refused, as Jobe refuses it. Of memory, disk, processes and output clients
ask for far more than there is (500,000 MB for PHP) and mean "enough": they get what there is, and
the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from assay.api.jobe.spec import Parameters
from assay.domain.errors import InvalidInput
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.environments.served import ServedEnvironment

OUTPUT_MOST: Final = 16 * MIB
"""Output that is kept of one program, both streams together."""
_SECONDS_LEAST: Final = 0.01
WALL_TIMES_CPU: Final = 2.0
"""A program may take so much longer than its processor time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What holds for one run."""

    execution: ExecutionLimits
    sandbox: SandboxLimits
    output_bytes: int
    cut: Mapping[str, int]
    """Parameters that asked for more than there is -> what there is, in MB or processes."""


def limits_of(asked: Parameters, environment: ServedEnvironment, least: SandboxLimits) -> Limits:
    """Decide. Raises InvalidInput for more processor time than the environment allows."""
    own = environment.sandbox
    output = _output(asked, environment)
    time = _time(asked, environment)
    sandbox = SandboxLimits(
        memory_bytes=_memory(asked, own, least),
        processes=_stepped(own.processes, asked.processes, least.processes),
        cpus=own.cpus,
        disk_bytes=_stepped(own.disk_bytes, _bytes(asked.disk_mib), least.disk_bytes),
        inodes=own.inodes,
    )
    if sandbox.memory_bytes < own.memory_bytes:
        # Files are in memory, and get at most half of it.
        disk = min(sandbox.disk_bytes, max(sandbox.memory_bytes // 2, 1))
        sandbox = replace(sandbox, disk_bytes=disk)
    most = {
        "memorylimit": (asked.memory_mib, own.memory_bytes // MIB),
        "disklimit": (asked.disk_mib, own.disk_bytes // MIB),
        "numprocs": (asked.processes, own.processes),
        "streamsize": (asked.stream_mib, output // MIB),
    }
    return Limits(
        execution=replace(time, output_bytes=output),
        sandbox=sandbox,
        output_bytes=output,
        cut={name: there for name, (wanted, there) in most.items() if wanted and wanted > there},
    )


def _time(asked: Parameters, environment: ServedEnvironment) -> ExecutionLimits:
    seconds, ceiling = asked.cpu_seconds, environment.ceiling
    if seconds is None:
        return environment.execution
    if ceiling.cpu_seconds is not None and seconds > ceiling.cpu_seconds:
        raise InvalidInput(f"cputime is at most {ceiling.cpu_seconds:g} seconds on this server")
    seconds = max(seconds, _SECONDS_LEAST)
    wall = WALL_TIMES_CPU * seconds
    if ceiling.wall_seconds is not None:
        wall = min(wall, ceiling.wall_seconds)
    return replace(environment.execution, cpu_seconds=seconds, wall_seconds=wall)


def _output(asked: Parameters, environment: ServedEnvironment) -> int:
    wanted = _bytes(asked.stream_mib)
    if wanted is None:
        wanted = environment.execution.output_bytes or OUTPUT_MOST
    return max(1, min(wanted, OUTPUT_MOST, environment.ceiling.output_bytes or OUTPUT_MOST))


def _memory(asked: Parameters, own: SandboxLimits, least: SandboxLimits) -> int:
    return _stepped(own.memory_bytes, _bytes(asked.memory_mib), least.memory_bytes)


def _stepped(own: int, asked: int | None, least: int) -> int:
    """The least of its own, half of it, a quarter, … that is as much as was asked for.

    In steps, so that there are few kinds of sandboxes, whatever clients ask for.
    """
    value = own
    if asked is not None:
        while value // 2 >= max(asked, least, 1):
            value //= 2
    return value


def _bytes(mib: float | None) -> int | None:
    return None if mib is None else max(1, int(mib * MIB))
