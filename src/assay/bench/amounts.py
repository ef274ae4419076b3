"""Numbers with their units, for people."""

from __future__ import annotations

from typing import Final

from assay.bench.figures import Unit

_SCALES: Final[dict[Unit, tuple[tuple[float, str], ...]]] = {
    Unit.SECONDS: ((1, "s"), (1e-3, "ms"), (1e-6, "µs")),
    Unit.BYTES: ((1e6, "MB"), (1e3, "kB"), (1, "B")),
    Unit.BYTES_PER_SECOND: ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")),
    Unit.TIMES: ((1, "×"),),
    Unit.CORES: ((1, "cores"),),
    Unit.PER_SECOND: ((1, "/s"),),
}


def amount(value: float, unit: Unit) -> str:
    """A number with its unit, three digits or so."""
    if unit is Unit.COUNT:
        return f"{value:,.0f}"
    scales = _SCALES[unit]
    scale, name = next((one for one in scales if abs(value) >= one[0]), scales[-1])
    scaled = value / scale
    digits = 0 if abs(scaled) >= 100 or not scaled else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:,.{digits}f} {name}"
