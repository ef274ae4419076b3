"""Facts and outcomes as data for JSON."""

from __future__ import annotations

import base64
from dataclasses import fields
from typing import Any

from assay.cli.remarks import Ended
from assay.domain.facts import Facts, Measurement


def as_data(ended: Ended) -> dict[str, Any]:
    """For JSON."""
    outcome, limits = ended.outcome, ended.command.limits
    return {
        "outcome": str(outcome.kind),
        "success": outcome.success,
        "code": outcome.code,
        "signal": outcome.signal,
        "clock": outcome.clock,
        "reason": outcome.reason or ended.facts.start_error,
        "exit_status": ended.status,
        "step": str(ended.step),
        "environment": ended.environment.name,
        "measurements": measurements(ended.facts),
        "limits": {
            "wall_seconds": limits.wall_seconds,
            "cpu_seconds": limits.cpu_seconds,
            "output_bytes": limits.output_bytes,
            "memory_bytes": ended.sandbox.memory_bytes,
        },
    }


def measurements(facts: Facts) -> dict[str, dict[str, Any] | None]:
    """Every measurement with who measured it, and of what; null: nobody has."""
    found: dict[str, dict[str, Any] | None] = {}
    for field in fields(facts):
        value = getattr(facts, field.name)
        if isinstance(value, Measurement):
            found[field.name] = {
                "value": value.value,
                "source": str(value.source),
                "scope": str(value.scope),
            }
        elif field.name.endswith(("_ns", "_bytes", "_kills")):
            found[field.name] = None
    return found


def text_of(name: str, data: bytes) -> dict[str, str]:
    """Output for JSON: as text if it is UTF-8, else in base64."""
    try:
        return {name: data.decode(), f"{name}_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {name: base64.b64encode(data).decode(), f"{name}_encoding": "base64"}
