"""`bridge`: what streams through an engine's exec session carry, beside a sandbox's own socket."""

from __future__ import annotations

from typing import Final

from assay.bench.figures import Distribution, Figure, Report, Unit
from assay.bench.stream import TRANSFERS, file_of
from assay.bench.subject import Progress, Subject, open_sessions
from assay.domain.limits import MIB, SandboxLimits

FLOOD_BYTES: Final = 64 * MIB
FILE_BYTES: Final = 32 * MIB
_LIMITS: Final = SandboxLimits(memory_bytes=512 * MIB, disk_bytes=128 * MIB)


async def measure(socket: Subject, bridge: Subject, *, repeats: int, progress: Progress) -> Report:
    """Move the same through both in turns, `repeats` times; the first round doesn't count."""
    sizes = {"output": FLOOD_BYTES, "file in": FILE_BYTES, "file out": FILE_BYTES}
    rates: list[dict[str, list[float]]] = [{name: [] for name in TRANSFERS} for _ in range(2)]
    async with open_sessions([socket, bridge], _LIMITS) as sessions:
        with file_of(FILE_BYTES) as file:
            for done in range(repeats + 1):
                for name, transfer in TRANSFERS.items():
                    for session, found in zip(sessions, rates, strict=True):
                        found[name].append(await transfer(session, sizes[name], file))
                progress("output and files, by the socket and by the bridge", done, repeats)
    near, far = rates
    return Report(
        name="bridge",
        title="Output and files through an engine, beside the sandbox's own socket",
        beside="socket",
        figures=tuple(
            Figure(
                driver=f"{bridge.name}, by the bridge",
                name=name,
                unit=Unit.BYTES_PER_SECOND,
                measured=Distribution.of(far[name][1:]),
                beside=Distribution.of(near[name][1:]),
            )
            for name in TRANSFERS
        ),
    )
