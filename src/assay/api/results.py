"""Limits as clients ask for them, and results as clients get them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec

from assay.domain.errors import InvalidInput
from assay.domain.facts import Facts, Measurement
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import Outcome

_SECONDS_MOST: Final = 366 * 86_400.0
"""Longer than any limit of time; keeps sums of seconds exact."""


class Limits(msgspec.Struct, rename="camel", kw_only=True):
    """What an execution may use, where that differs from its environment."""

    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    output_bytes: int | None = None

    def over(self, given: ExecutionLimits) -> ExecutionLimits:
        """`given` with what is asked for here in its place. Raises InvalidInput."""
        asked = {
            name: value
            for name in ("wall_seconds", "cpu_seconds", "output_bytes")
            if (value := getattr(self, name)) is not None
        }
        return replace(given, **asked)


class OutcomeAnswer(msgspec.Struct, kw_only=True):
    """How an execution ended: see `assay.domain.outcome`."""

    kind: str
    code: int | None
    signal: int | None
    clock: str | None
    reason: str | None


class MeasurementAnswer(msgspec.Struct):
    """A number, who measured it, and of what."""

    value: int
    source: str
    scope: str


class Measurements(msgspec.Struct, rename="camel", kw_only=True):
    """What an execution used; null is unknown."""

    wall_ns: MeasurementAnswer | None
    cpu_ns: MeasurementAnswer | None
    peak_memory_bytes: MeasurementAnswer | None
    output_bytes: MeasurementAnswer | None
    oom_kills: MeasurementAnswer | None


def to_outcome(outcome: Outcome) -> OutcomeAnswer:
    """An outcome as clients get it."""
    return OutcomeAnswer(
        kind=outcome.kind.value,
        code=outcome.code,
        signal=outcome.signal,
        clock=outcome.clock,
        reason=outcome.reason,
    )


def to_measurements(facts: Facts) -> Measurements:
    """The measurements of facts as clients get them."""
    return Measurements(
        wall_ns=_measurement(facts.wall_ns),
        cpu_ns=_measurement(facts.cpu_ns),
        peak_memory_bytes=_measurement(facts.peak_memory_bytes),
        output_bytes=_measurement(facts.output_bytes),
        oom_kills=_measurement(facts.oom_kills),
    )


def start_error(facts: Facts) -> str | None:
    """Why a program could not be started, such as "ENOENT (program)"."""
    if facts.start_error is None:
        return None
    return f"{facts.start_error} ({facts.start_step})" if facts.start_step else facts.start_error


def seconds(value: float | None, name: str, *, most: float = _SECONDS_MOST) -> float | None:
    """A span of time that a client asks for; 0 and null are none. Raises InvalidInput."""
    if not value:
        return None
    if not 0 < value <= most:
        raise InvalidInput(f"{name} is from 0 to {most:,.0f} seconds, not {value}")
    return float(value)


def _measurement(measured: Measurement | None) -> MeasurementAnswer | None:
    if measured is None:
        return None
    return MeasurementAnswer(measured.value, measured.source.value, measured.scope.value)
